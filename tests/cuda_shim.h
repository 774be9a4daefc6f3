// What CUDA has and C++ lacks, for kernels run on the CPU: the threads of a block take turns, in either order.
#include <cmath>
#include <cstring>
#include <utility>

#define __global__
#define __launch_bounds__(n)
#define __shared__ static
#define EACH_THREAD for (int turn = 0, thread; turn < 256 && (thread = backwards ? 255 - turn : turn, true); ++turn)
#define BARRIER

static struct { int x; } blockIdx;
static int backwards;

static float __int_as_float(int bits) { float x; std::memcpy(&x, &bits, sizeof x); return x; }
static double __longlong_as_double(long long bits) { double x; std::memcpy(&x, &bits, sizeof x); return x; }

template <class... A, std::size_t... n>
void call(void (*kernel)(A...), void** arguments, std::index_sequence<n...>) { kernel((A)arguments[n]...); }

template <class... A>
void run_blocks(void (*kernel)(A...), int n_blocks, int in_reverse, void** arguments) {
  backwards = in_reverse;
  for (int n = 0; n < n_blocks; ++n) {
    blockIdx.x = in_reverse ? n_blocks - 1 - n : n;
    call(kernel, arguments, std::index_sequence_for<A...>());
  }
}
