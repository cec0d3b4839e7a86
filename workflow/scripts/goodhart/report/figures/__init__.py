"""The figures of a study. A figure is one function of the results, registered in `FIGURES`.

Its caption is in workflow/report/<name>.rst, and its place in the report is set in workflow/rules/figures.smk. Modules
group figures like the report. A figure has one column of panels per arm and one block of rows per method;
`report.panels` defines how means, replicates and standard errors are drawn, and `draw` applies its style.
"""

from collections.abc import Callable

import matplotlib as mpl
from matplotlib.figure import Figure

from goodhart.report.figures.conservatism import arms, augc_by_beta, beta_by_lambda
from goodhart.report.figures.mechanism import entropy, mechanism
from goodhart.report.figures.reward_hacking import calibration, gap_by_step, rewards_by_kl, rewards_by_step
from goodhart.report.panels import STYLE
from goodhart.report.results import Results

FIGURES: dict[str, Callable[[Results], Figure]] = {
    function.__name__: function
    for function in (
        *(rewards_by_step, rewards_by_kl, gap_by_step, augc_by_beta, beta_by_lambda),
        *(entropy, mechanism, arms, calibration),
    )
}


def draw(name: str, results: Results) -> Figure:
    """The figure of that name in `FIGURES`."""
    with mpl.rc_context(STYLE):
        figure = FIGURES[name](results)
        for _ in range(2):  # the second pass makes room for the legend
            figure.draw_without_rendering()
        figure.set_layout_engine("none")  # so that files do not depend on the order of saving
    return figure
