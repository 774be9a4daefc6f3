"""Checkpoints: a run that was ended in any way goes on bit for bit; faults of disks and folders stop nothing else."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import warnings

import kill_and_resume
import numpy as np
import pytest

import backprop_xp as bx
from backprop_xp import backends, checkpoints, cli, files
from backprop_xp.callbacks import Callback, JsonLines
from backprop_xp.engines.tracing import of_step
from backprop_xp.errors import DivergedError, InputError, StopTraining

ENGINES = ["eager", "jax", "torch", "loops"]
NEEDS = {"loops": "numba", "jax": "jax", "torch": "torch"}
RNG = np.random.default_rng(0)
X = RNG.standard_normal((83, 5)).astype(np.float32)
y = RNG.integers(0, 3, 83)
NETWORK = bx.Network((5, 7, 3), activation="tanh", output="softmax")


def trainer(folder=None, *, epochs=6, engine="eager", **options):
    given = {"batch_size": 16, "patience": 50, "validation_fraction": 0.2, "dropout": 0.2, "seed": 1, **options}
    optimizer = given.pop("optimizer", bx.adam(0.01))
    return bx.Trainer(NETWORK, optimizer=optimizer, epochs=epochs, engine=engine, checkpoint=folder, **given)


def numbers(run):
    """All that a run leaves, but for the time it took."""
    history = {name: values.tolist() for name, values in run.history.items() if name != "seconds"}
    params = [backends.to_host(leaf).tobytes() for layer in run.params for leaf in layer]
    return params, history, run.kept_epoch, run.stopped


def whole(**options):
    run = trainer(**options)
    run.fit(X, y)
    return numbers(run)


class StopAt(Callback):
    """Stops, or fails, after a step."""

    paced = False

    def __init__(self, step, error=StopTraining):
        self.left, self.error = step, error

    def on_batch_end(self, batch, loss):
        self.left -= 1
        if not self.left:
            raise self.error


@pytest.fixture(params=ENGINES)
def engine(request):
    pytest.importorskip(NEEDS.get(request.param, "numpy"))
    return request.param


@pytest.mark.parametrize("step", [1, 3, 5, 7, 10, 22])
def test_a_run_ended_after_any_step_goes_on_bit_for_bit(tmp_path, engine, step):
    trainer(tmp_path, engine=engine, callbacks=[StopAt(step)]).fit(X, y)
    again = trainer(tmp_path, engine=engine)
    again.fit(X, y, resume=True)
    assert again.resumed is not None
    assert numbers(again) == whole(engine=engine)


@pytest.mark.parametrize("shuffle", [True, False])
def test_parts_of_an_epoch_are_the_epoch(tmp_path, engine, shuffle):
    run = trainer(bx.Checkpoints(tmp_path, every_steps=2), engine=engine, shuffle=shuffle)
    run.fit(X, y, sample_weight=np.linspace(0.5, 2, len(y)))
    other = trainer(engine=engine, shuffle=shuffle)
    other.fit(X, y, sample_weight=np.linspace(0.5, 2, len(y)))
    assert numbers(run) == numbers(other)


@pytest.mark.parametrize(
    ("first", "second"), [("eager", "jax"), ("jax", "eager"), ("eager", "loops"), ("loops", "eager")]
)
def test_another_engine_goes_on_to_rounding(tmp_path, first, second):
    for name in (first, second):
        pytest.importorskip(NEEDS.get(name, "numpy"))
    trainer(tmp_path, engine=first, callbacks=[StopAt(8)], dtype="float64").fit(X, y)
    run = trainer(tmp_path, engine=second, dtype="float64")
    run.fit(X, y, resume=True)
    expected = trainer(engine=first, dtype="float64")
    expected.fit(X, y)
    for one, other in zip(run.params, expected.params, strict=True):
        for leaf, right in zip(one, other, strict=True):
            np.testing.assert_allclose(leaf, right, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("backend", ["jax", "torch", "array_api_strict"])
def test_every_backend_goes_on_bit_for_bit_and_another_to_rounding(tmp_path, backend):
    pytest.importorskip(backend)
    trainer(tmp_path, backend=backend, callbacks=[StopAt(8)]).fit(X, y)
    run, expected = trainer(tmp_path, backend=backend), trainer(backend=backend)
    run.fit(X, y, resume=True)
    expected.fit(X, y)
    assert numbers(run) == numbers(expected)
    on_numpy = trainer(tmp_path, epochs=7)
    on_numpy.fit(X, y, resume=True)
    right = trainer(epochs=7)
    right.fit(X, y)
    np.testing.assert_allclose(on_numpy.params[0][0], right.params[0][0], rtol=1e-4, atol=1e-6)


def test_more_epochs_go_on_from_the_end(tmp_path):
    trainer(tmp_path).fit(X, y)
    run = trainer(tmp_path, epochs=9)
    run.fit(X, y, resume=True)
    assert numbers(run) == whole(epochs=9)


def test_auto_goes_on_with_the_engine_that_the_run_was_begun_by(tmp_path):
    pytest.importorskip("numba")
    trainer(tmp_path, engine="loops", epochs=2).fit(X, y)
    run = trainer(tmp_path, engine="auto")
    run.fit(X, y, resume=True)
    assert run.choice.engine == "loops"
    assert numbers(run) == whole(engine="loops")


def test_a_run_that_is_over_is_not_trained_further(tmp_path):
    first = trainer(tmp_path, patience=1, epochs=200)
    first.fit(X, y)
    assert first.stopped == "patience"
    again = trainer(tmp_path, patience=1, epochs=200)
    again.fit(X, y, resume=True)
    assert numbers(again) == numbers(first)


def test_where_there_is_no_checkpoint_the_run_begins(tmp_path):
    run = trainer(tmp_path / "new")
    run.fit(X, y, resume=True)
    assert run.resumed is None
    assert any("no whole checkpoint" in line for line in run.notes)
    assert numbers(run) == whole()


def test_the_last_few_stay(tmp_path):
    trainer(bx.Checkpoints(tmp_path, keep=2)).fit(X, y)
    assert sorted(os.listdir(tmp_path)) == [f"epoch-{k:08d}-step-0000000000.safetensors" for k in (5, 6)]
    trainer(bx.Checkpoints(tmp_path, every=4), epochs=11).fit(X, y, resume=True)
    assert [name[6:14] for name in sorted(os.listdir(tmp_path))] == ["00000006", "00000008", "00000011"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 8}, "batch_size was 16, not 8"),
        ({"seed": 2}, "seed was 1, not 2"),
        ({"dropout": 0.1}, "dropout was 0.2, not 0.1"),
        ({"l2": 0.1}, "l2 was 0.0, not 0.1"),
        ({"dtype": "float64"}, "dtype was float32, not float64"),
        ({"patience": None}, "patience was 50, not None"),
        ({"shuffle": False}, "shuffle was True, not False"),
        ({"metrics": ("accuracy",)}, "metrics was , not accuracy"),
        ({"initializer": "he_uniform"}, "the first parameters differ"),
        ({"optimizer": bx.adam(0.02)}, "the optimizer, its schedule or the loss differ"),
        ({"optimizer": bx.adam(0.01, beta_1=0.8)}, "the optimizer, its schedule or the loss differ"),
        ({"optimizer": bx.adam(bx.schedules.cosine(0.01, 100))}, "the optimizer, its schedule or the loss differ"),
    ],
)
def test_other_settings_are_refused_and_nothing_is_lost(tmp_path, change, message):
    trainer(tmp_path, epochs=2).fit(X, y)
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(InputError, match=message):
        trainer(tmp_path, **change).fit(X, y, resume=True)
    assert sorted(os.listdir(tmp_path)) == before


def test_other_data_or_another_network_are_refused(tmp_path):
    trainer(tmp_path, epochs=2).fit(X, y)
    other = X.copy()
    other[40, 3] += 1e-6
    with pytest.raises(InputError, match="the training data differ"):
        trainer(tmp_path).fit(other, y, resume=True)
    wider = bx.Network((5, 8, 3), activation="tanh", output="softmax")
    with pytest.raises(InputError, match="network was 5-7-3, tanh, softmax, True, not 5-8-3"):
        bx.Trainer(wider, checkpoint=tmp_path).fit(X, y, resume=True)


def test_checkpoints_of_another_run_are_not_overwritten(tmp_path):
    trainer(tmp_path, epochs=2).fit(X, y)
    with pytest.raises(InputError, match="there are checkpoints of a run"):
        trainer(tmp_path).fit(X, y)
    with pytest.raises(InputError, match="nothing to resume from"):
        trainer().fit(X, y, resume=True)


@pytest.mark.parametrize("options", [{"every": 0}, {"every_steps": 0}, {"keep": 0}, {"every": 1.5}, {"keep": True}])
def test_numbers_that_cannot_be(options):
    with pytest.raises(InputError, match="must be an integer of at least 1"):
        bx.Checkpoints("somewhere", **options)


# Faults, by name


def test_a_checkpoint_truncated_anywhere_is_passed_over(tmp_path):
    trainer(tmp_path, epochs=3).fit(X, y)
    newest = max(tmp_path.iterdir())
    content, expected = newest.read_bytes(), whole()
    for percent in range(100):
        newest.write_bytes(content[: len(content) * percent // 100])
        run = trainer(tmp_path, epochs=3)
        run.fit(X, y, resume=True)
        assert run.resumed.name == "epoch-00000002-step-0000000000.safetensors", percent
        assert any("is passed over" in line for line in run.notes)
    run = trainer(tmp_path)
    run.fit(X, y, resume=True)
    assert numbers(run) == expected


def test_what_is_written_after_a_damaged_one_is_kept(tmp_path):
    trainer(bx.Checkpoints(tmp_path, keep=1), epochs=5).fit(X, y)
    (damaged,) = tmp_path.iterdir()
    damaged.write_bytes(b"")
    run = trainer(bx.Checkpoints(tmp_path, keep=1), epochs=2)
    run.fit(X, y, resume=True)
    assert sorted(os.listdir(tmp_path)) == ["epoch-00000002-step-0000000000.safetensors", damaged.name]
    again = trainer(bx.Checkpoints(tmp_path, keep=1))
    again.fit(X, y, resume=True)
    assert again.resumed.name == "epoch-00000002-step-0000000000.safetensors"
    assert numbers(again) == whole()


def test_a_later_version_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoints, "VERSION", checkpoints.VERSION + 1)
    trainer(tmp_path, epochs=2).fit(X, y)
    monkeypatch.undo()
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(InputError, match=r"epoch-00000002.*later version .* pip install --upgrade.* another folder"):
        trainer(tmp_path).fit(X, y, resume=True)
    assert sorted(os.listdir(tmp_path)) == before


def test_a_changed_number_is_found(tmp_path):
    trainer(tmp_path, epochs=3).fit(X, y)
    newest = max(tmp_path.iterdir())
    content = bytearray(newest.read_bytes())
    content[-100] ^= 1
    newest.write_bytes(content)
    run = trainer(tmp_path)
    run.fit(X, y, resume=True)
    assert run.resumed != newest
    assert any("not those that were written" in line for line in run.notes)


def test_a_full_disk_stops_nothing_but_the_checkpoint(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    run = trainer(tmp_path)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.warns(UserWarning, match=r"no checkpoint at .* No space left on device"):
        run.fit(X, y)
    monkeypatch.undo()
    assert numbers(run) == whole()
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files")
def test_a_limit_on_files_stops_nothing_but_the_checkpoint(tmp_path):
    program = """
        import resource, signal, sys, warnings
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        import numpy as np, backprop_xp as bx
        resource.setrlimit(resource.RLIMIT_FSIZE, (512, 512))
        run = bx.Trainer(bx.Network((3, 40, 1)), epochs=2, checkpoint=sys.argv[1])
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            run.fit(np.ones((9, 3)), np.ones(9))
        print(run.stopped, [str(each.message) for each in told])
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(tmp_path / "c")]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert told.startswith("epochs")
    assert "File too large; there is none yet" in told
    assert os.listdir(tmp_path / "c") == []


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_stops_nothing_but_the_checkpoint(tmp_path):
    tmp_path.chmod(0o500)
    run = trainer(tmp_path)
    try:
        with pytest.warns(UserWarning, match="Permission denied"):
            run.fit(X, y)
    finally:
        tmp_path.chmod(0o700)
    assert numbers(run) == whole()


def test_a_folder_that_becomes_read_only_keeps_its_last_checkpoint(tmp_path, monkeypatch):
    real, calls = files.tempfile.mkstemp, []

    def read_only(*given, **named):
        calls.append(1)
        if len(calls) > 2:
            raise OSError(30, "Read-only file system")
        return real(*given, **named)

    monkeypatch.setattr(files.tempfile, "mkstemp", read_only)
    with pytest.warns(UserWarning, match=r"Read-only file system; the last one is .*epoch-00000002"):
        trainer(tmp_path).fit(X, y)
    monkeypatch.undo()
    run = trainer(tmp_path)
    run.fit(X, y, resume=True)
    assert numbers(run) == whole()


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot keep checkpoints"):
        trainer(tmp_path / "file").fit(X, y)


@pytest.mark.skipif(os.name != "posix", reason="locks folders by flock")
def test_two_runs_on_one_folder(tmp_path):
    with bx.Checkpoints(tmp_path).opened(), pytest.raises(InputError, match="another run keeps its checkpoints"):
        trainer(tmp_path).fit(X, y)
    trainer(tmp_path).fit(X, y)  # the lock is gone with the run


def test_a_clock_set_back_changes_nothing(tmp_path):
    trainer(tmp_path, epochs=3).fit(X, y)
    for age, path in enumerate(sorted(tmp_path.iterdir())):
        os.utime(path, (1e9 - age, 1e9 - age))  # the newest seems the oldest
    run = trainer(tmp_path)
    run.fit(X, y, resume=True)
    assert run.resumed.name.startswith("epoch-00000003")
    assert numbers(run) == whole()


def test_what_a_killed_write_left_is_removed(tmp_path):
    trainer(tmp_path, epochs=2).fit(X, y)
    (tmp_path / ".epoch-00000003-step-0000000000.safetensors.x1y2").write_bytes(b"half")
    (tmp_path / "notes.txt").write_text("the user's")
    trainer(tmp_path, epochs=3).fit(X, y, resume=True)
    assert not any(name.startswith(".") for name in os.listdir(tmp_path))
    assert (tmp_path / "notes.txt").exists()


def test_callbacks_that_raise_over_ten_thousand_epochs(tmp_path):
    """Each failure is the callback's own, and the run goes on from the epoch it came in."""
    options = {"epochs": 10_000, "batch_size": 64, "patience": None, "validation_fraction": 0.0, "dropout": 0.0}
    rows = slice(0, 12)

    class Fails(Callback):
        def on_epoch_end(self, record):
            if int(record["epoch"]) % 499 == 0:
                raise RuntimeError(f"epoch {record['epoch']:.0f}")

    failures = 0
    while True:
        run = trainer(bx.Checkpoints(tmp_path, every=1000), callbacks=[Fails()], **options)
        try:
            run.fit(X[rows], y[rows], resume=True)
            break
        except RuntimeError:
            failures += 1
        assert len(os.listdir(tmp_path)) <= 3
    expected = trainer(**options)
    expected.fit(X[rows], y[rows])
    assert failures == 10_000 // 499
    assert numbers(run) == numbers(expected)


@pytest.mark.parametrize("every", [1, 1000])
def test_what_is_not_finite_is_not_kept_and_the_last_good_checkpoint_is_named(tmp_path, every):
    run = trainer(bx.Checkpoints(tmp_path, every=every), optimizer=bx.sgd(bx.schedules.step(0.1, 10, 1e30)), epochs=9)
    named = r"and the checkpoint .*epoch-0000000\d-step"
    with np.errstate(all="ignore"), pytest.raises(DivergedError, match=named) as raised:
        run.fit(X, y)
    assert raised.value.checkpoint == max(tmp_path.iterdir())
    assert raised.value.step > 1 or raised.value.epoch > 1
    again = trainer(tmp_path, optimizer=bx.sgd(bx.schedules.step(0.1, 10, 1e30)), epochs=9)
    with np.errstate(all="ignore"), pytest.raises(DivergedError) as second:
        again.fit(X, y, resume=True)
    assert (second.value.epoch, second.value.step) == (raised.value.epoch, raised.value.step)


def test_parameters_that_overflow_in_the_last_step_are_not_kept(tmp_path):
    run = trainer(tmp_path, optimizer=bx.sgd(3e38), epochs=1, batch_size=100, dropout=0.0)
    run.params = run.first_params = tuple((W * 100, b) for W, b in run.params)
    with np.errstate(all="ignore"), pytest.raises(DivergedError):
        run.fit(X, y)
    assert os.listdir(tmp_path) == []


def test_callbacks_count_the_steps_of_the_epoch_whatever_its_parts(tmp_path):
    seen = []

    class Counts(Callback):
        def on_batch_end(self, batch, loss):
            seen.append(batch)

    trainer(bx.Checkpoints(tmp_path, every_steps=2), epochs=2, callbacks=[Counts()]).fit(X, y)
    assert seen == [0, 1, 2, 3, 4] * 2


def test_steps_that_read_other_columns_have_other_fingerprints():
    def step_of(column):
        return lambda params, state, X, Y, weight: (params, state, (X[..., column] * 2.0)[..., 0, 0])

    given = (np.ones((3, 2)), None), (np.ones((4, 3)), np.ones(4), None)
    prints = [of_step(step_of(slice(k, k + 1)), *given) for k in (0, 1, 0)]
    assert prints[0] == prints[2] != prints[1]
    assert of_step(lambda *given: float(given[2]), *given) == "untraceable"


def test_a_log_is_continued(tmp_path):
    log = tmp_path / "log.jsonl"
    trainer(tmp_path / "c", epochs=2, callbacks=[JsonLines(log)]).fit(X, y)
    trainer(tmp_path / "c", epochs=4, callbacks=[JsonLines(log)]).fit(X, y, resume=True)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["epoch"] for line in lines if line["event"] == "epoch"] == [1, 2, 3, 4]


# Signals

ENDLESS = """
    import sys
    import numpy as np
    import backprop_xp as bx
    from backprop_xp.callbacks import Callback

    class Say(Callback):
        def on_epoch_end(self, record):
            print(record["epoch"], flush=True)

    folder, engine = sys.argv[1:]
    X = np.random.default_rng(0).standard_normal((640, 5)).astype(np.float32)
    run = bx.Trainer(bx.Network((5, 7, 3), output="softmax"), epochs=10**9, engine=engine, callbacks=[Say()],
                     checkpoint=bx.Checkpoints(folder, every=10**9))
    try:
        run.fit(X, np.arange(640) % 3)
    finally:
        print(run.stopped, len(run.history["loss"]), flush=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
@pytest.mark.parametrize("ignored", [False, True], ids=["", "in the background"])
def test_sigterm_writes_a_checkpoint_and_ends_with_143(tmp_path, engine, ignored):
    command = [sys.executable, "-c", textwrap.dedent(ENDLESS), str(tmp_path), engine]

    if ignored:
        command = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *command]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for _ in range(3):
            process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        rest = process.stdout.read()
        assert process.wait(60) == 143
    assert rest.splitlines()[-1].startswith("terminated")
    (path,) = tmp_path.iterdir()
    assert path.name > "epoch-00000002"


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
def test_the_command_ended_by_sigterm_goes_on(tmp_path):
    given = ["train", "iris", "--output", str(tmp_path / "m"), "--patience", "0", "--hidden", "8", "--engine", "eager"]
    kept = ["--checkpoint", str(tmp_path / "c")]
    command = [sys.executable, "-m", "backprop_xp", *given, *kept, "--epochs", "1000000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not process.stdout.readline().startswith("epoch"):
            pass
        process.send_signal(signal.SIGTERM)
        told, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (143, "")
    assert "ended by SIGTERM" in told
    assert "with --resume goes on from here" in told
    epochs = str(int(max((tmp_path / "c").iterdir()).name[6:14]) + 2)
    assert cli.run([*given, *kept, "--epochs", epochs, "--resume"]) == 0
    resumed = bx.load(tmp_path / "m")
    assert cli.run([*given, "--epochs", epochs]) == 0
    for layer, expected in zip(resumed.params, bx.load(tmp_path / "m").params, strict=True):
        assert [leaf.tobytes() for leaf in layer] == [leaf.tobytes() for leaf in expected]


@pytest.mark.parametrize(("given", "message"), [
    (["--resume"], "--resume needs to know from where"),
    (["--every", "5"], "--every needs to know where: give --checkpoint FOLDER"),
    (["--every-steps", "5"], "--every-steps needs to know where: give --checkpoint FOLDER"),
    (["--keep", "3"], "--keep needs to know where: give --checkpoint FOLDER"),
    (["--checkpoint", "c", "--every", "0"], "every of checkpoints must be an integer of at least 1"),
])  # fmt: skip
def test_flags_that_cannot_be(given, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.run(["train", "xor", *given]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
def test_sigterm_during_a_save_leaves_a_whole_checkpoint(tmp_path, monkeypatch):
    real, calls = os.replace, []

    def slow(*given):
        calls.append(1)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        real(*given)

    monkeypatch.setattr(os, "replace", slow)
    run = trainer(tmp_path)
    with pytest.raises(SystemExit) as ended:
        run.fit(X, y)
    monkeypatch.undo()
    assert ended.value.code == 143
    assert run.stopped == "terminated"
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert not any(name.startswith(".") for name in os.listdir(tmp_path))
    again = trainer(tmp_path)
    again.fit(X, y, resume=True)
    assert numbers(again) == whole()


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
def test_ctrl_c_keeps_the_place_within_the_epoch(tmp_path, engine):
    options = {"epochs": 400, "engine": engine, "patience": None}
    run = trainer(bx.Checkpoints(tmp_path, every=10**6), **options)

    class Presses(Callback):
        def on_epoch_end(self, record):
            if record["epoch"] == 30:
                threading.Timer(0.002, os.kill, (os.getpid(), signal.SIGINT)).start()

    run.callbacks.append(Presses())
    with pytest.warns(UserWarning, match="interrupted"):
        run.fit(X, y)
    assert 30 <= run.history["epoch"][-1] < 400
    again = trainer(tmp_path, **options)
    again.fit(X, y, resume=True)
    assert numbers(again) == whole(**options)


def test_without_checkpoints_sigterm_is_left_alone():
    seen = []

    class Looks(Callback):
        def on_epoch_end(self, record):
            seen.append(signal.getsignal(signal.SIGTERM))

    trainer(callbacks=[Looks()], epochs=1).fit(X, y)
    assert seen == [signal.SIG_DFL]


@pytest.mark.skipif(os.name != "posix", reason="kills")
@pytest.mark.parametrize("name", ["eager", "jax", "loops"])
def test_killed_at_random_moments(name):
    """The short version; `python tests/kill_and_resume.py --runs 200` is the long one."""
    pytest.importorskip(NEEDS.get(name, "numpy"))
    assert kill_and_resume.main(["--runs", "2", "--engine", name]) == 0


def test_nothing_is_left_behind_after_an_error(tmp_path):
    threads, handles = threading.active_count(), len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc") else 0
    for _ in range(3):
        with pytest.raises(RuntimeError), warnings.catch_warnings():
            trainer(tmp_path, callbacks=[StopAt(2, RuntimeError)]).fit(X, y, resume=True)
    assert threading.active_count() == threads
    if handles:
        assert len(os.listdir("/proc/self/fd")) == handles
    assert all(checkpoints._NAME.fullmatch(name) for name in os.listdir(tmp_path))


def test_ctrl_c_while_a_checkpoint_is_written_in_mid_epoch_keeps_the_steps_before_it(tmp_path, monkeypatch):
    save, saved = checkpoints.Folder.save, []

    def interrupted(folder, progress):
        saved.append(len(progress.losses))
        if saved == [2, 4]:
            signal.raise_signal(signal.SIGINT)
        save(folder, progress)

    monkeypatch.setattr(checkpoints.Folder, "save", interrupted)
    run = trainer(bx.Checkpoints(tmp_path, every_steps=2), epochs=1, validation_fraction=0.0)
    with pytest.warns(UserWarning, match="interrupted"):
        run.fit(X, y)
    assert (run.stopped, run.kept_epoch, len(run.history["loss"])) == ("interrupted", 1, 1)
    monkeypatch.undo()
    stopped = trainer(epochs=1, validation_fraction=0.0, callbacks=[StopAt(4)])
    stopped.fit(X, y)
    assert numbers(run)[0] == numbers(stopped)[0]
    resumed = trainer(bx.Checkpoints(tmp_path, every_steps=2), epochs=3, validation_fraction=0.0)
    resumed.fit(X, y, resume=True)
    assert numbers(resumed) == whole(epochs=3, validation_fraction=0.0)


def test_a_folder_that_begins_like_a_home_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with bx.Checkpoints("~$folder").opened():
        assert (tmp_path / "~$folder").is_dir()


def test_a_run_resumed_in_mid_epoch_that_makes_no_step_keeps_that_epoch(tmp_path):
    folder = bx.Checkpoints(tmp_path, every_steps=2)
    trainer(folder, patience=None, epochs=2, callbacks=[StopAt(7)]).fit(X, y)  # five steps an epoch
    run = trainer(folder, patience=None, epochs=1)
    run.fit(X, y, resume=True)
    assert (run.kept_epoch, len(run.history["loss"])) == (2, 1)
    whole_epoch = trainer(patience=None, epochs=1)
    whole_epoch.fit(X, y)
    assert numbers(run)[0] != numbers(whole_epoch)[0]
