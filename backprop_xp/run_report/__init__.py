"""One page on a recorded training run: data, network, curves, sizes by layer, mistakes, surroundings, how to repeat."""

import importlib.util

from backprop_xp.errors import InputError
from backprop_xp.pages import page
from backprop_xp.recorded_run import RecordedRun
from backprop_xp.run_report import figures, sections
from backprop_xp.run_report.mistakes import mistakes


def written(run: RecordedRun, name: str) -> str:
    """Return the page as HTML that loads nothing.

    Parameters
    ----------
    run : RecordedRun
    name : str
        Of the run, for the title.

    Raises
    ------
    InputError
        If Matplotlib is not installed, or what was recorded is not what a recorder writes.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise InputError("a report needs Matplotlib: pip install 'backprop-xp[cli]'")
    try:
        body, lead = _body(run), sections.lead(run)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise InputError(f"the run's record is damaged ({type(error).__name__}: {error})") from error
    return page("report", f"Training run {name}", lead=lead, body=body)


def _body(run: RecordedRun) -> str:
    sizes = figures.sizes(run)
    parts = [
        sections.data(run),
        sections.network(run, sizes),
        sections.training(run),
        sections.learning_rate(run),
        sections.curves(run),
        sections.layers(run, sizes),
        *mistakes(run),
        sections.surroundings(run),
        sections.repeat(run),
    ]
    return "\n".join(filter(None, parts))
