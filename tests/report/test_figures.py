"""Figures and pages from small made-up studies: what is drawn, in which colour, and what a caption says."""

from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from matplotlib.axes import Axes
from matplotlib.colors import same_color, to_hex
from matplotlib.figure import Figure

import draw_figures
import show_samples
from balanced import Balanced
from goodhart.analysis.curves import rival_at
from goodhart.analysis.gap import gap_paper
from goodhart.analysis.overoptimisation import reward_at
from goodhart.analysis.tradeoff import optimal_conservatism
from goodhart.errors import InputError
from goodhart.report.figures import FIGURES, draw
from goodhart.report.panels import colours, correlations, save
from goodhart.report.results import Results
from goodhart.store.files import write_json, write_table
from goodhart.store.schemas.inputs import PROBLEMS
from goodhart.store.schemas.measurements import ONLINE_RESPONSES
from goodhart.store.schemas.summaries import GAPS, OVEROPTIMISATION, RUNS
from made_up import BETAS, QUALITY, fit, study

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def one() -> Results:
    return study(["p50"], 1, ["paper"])


@pytest.fixture(scope="module")
def many() -> Results:
    return study(list(BETAS), 3, ["paper", "matched"])


@pytest.fixture(scope="module")
def drawn(one: Results, many: Results) -> dict[tuple[str, str], Figure]:
    return {(name, size): draw(name, t) for name in FIGURES for size, t in (("one", one), ("many", many))}


def texts(figure: Figure) -> str:
    return "\n".join(t.get_text() for t in figure.findobj(lambda artist: hasattr(artist, "get_text")))


def means(ax: Axes) -> list[Any]:
    """The lines that show means."""
    return [line for line in ax.lines if line.get_linewidth() == 1.6]


@pytest.mark.parametrize("size", ["one", "many"])
@pytest.mark.parametrize("name", FIGURES)
def test_axes_are_labelled_and_nothing_is_cut_off(name: str, size: str, drawn: dict[tuple[str, str], Figure]) -> None:
    figure = drawn[name, size]
    assert any(ax.get_xlabel() for ax in figure.axes)
    for ax in figure.axes:
        assert ax.get_ylabel() or ax.get_title() or not ax.get_subplotspec().is_first_col()
        assert ax.has_data() or "nothing to compare" in texts(figure)
        if ax.get_subplotspec().is_last_row():
            assert ax.get_xlabel()
    box = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    assert box.x0 >= 0
    assert box.y0 >= 0
    assert box.x1 <= width
    assert box.y1 <= height


def test_a_level_has_one_colour_everywhere(many: Results, drawn: dict[tuple[str, str], Figure]) -> None:
    assert list(colours(many)) == ["p20", "p50", "p80"]  # by beta
    assert len(set(colours(many).values())) == 3
    for name in set(FIGURES) - {"calibration"}:
        legend = drawn[name, "many"].legends[0]
        shown = {t.get_text(): h for t, h in zip(legend.texts, legend.legend_handles, strict=True)}
        for level, colour in colours(many).items():
            assert same_color(shown[f"{level} (β = {BETAS[level]:.3g})"].get_color(), colour)
        used = {to_hex(line.get_color()) for ax in drawn[name, "many"].axes for line in ax.lines}
        bands = [c.get_facecolor() for ax in drawn[name, "many"].axes for c in ax.collections]
        used |= {to_hex(face) for faces in bands for face in faces}
        if name != "beta_by_lambda":  # whose colours are those of resamples, from eight replicates on
            assert set(colours(many).values()) <= used


def test_lines_are_means_and_bands_need_two_replicates(many: Results, drawn: dict[tuple[str, str], Figure]) -> None:
    proxy, true = (drawn["rewards_by_step", "many"].axes[i] for i in (0, 2))
    paper = many.gaps[many.gaps["kl_level"] == many.gaps["level"]]
    for ax, y in ((proxy, (paper["proxy"] - 0.5) / 1.0), (true, paper["true"])):
        expected = y.groupby([paper["level"], paper["step"]]).mean()
        assert len(means(ax)) == 3
        for line in means(ax):
            level = next(lv for lv, c in colours(many).items() if same_color(line.get_color(), c))
            assert line.get_ydata() == pytest.approx(expected[level].to_numpy())
        assert len(ax.collections) == 3
        band = ax.collections[0].get_paths()[0].vertices
        last = y[(paper["level"] == "p20") & (paper["step"] == 30)]
        at_end = band[band[:, 0] == 30, 1]
        assert np.ptp(at_end) == pytest.approx(2 * last.sem())
    assert "n = 3 replicates" in proxy.get_title()
    alone = drawn["rewards_by_step", "one"].axes[0]
    assert len(means(alone)) == 1
    assert not any(len(c.get_paths()) and np.ptp(c.get_paths()[0].vertices[:, 1]) > 1 for c in alone.collections)
    assert "n = 1 replicate)" in alone.get_title()


def test_kl_below_zero_is_drawn_at_zero(many: Results, drawn: dict[tuple[str, str], Figure]) -> None:
    assert (many.gaps["kl"] < 0).any()
    assert many.curves["distance"].min() == 0
    line = means(drawn["rewards_by_kl", "many"].axes[0])[0]
    assert line.get_xdata()[0] == 0


def test_same_tables_same_bytes(many: Results, tmp_path: Path) -> None:
    """Whichever format is written first."""
    contents: list[dict[str, bytes]] = []
    for kinds in (("svg", "pdf"), ("pdf", "svg")):
        figure = draw("augc_by_beta", many)
        for kind in kinds:
            save(figure, tmp_path / f"figure.{kind}", kind)
        contents.append({kind: (tmp_path / f"figure.{kind}").read_bytes() for kind in sorted(kinds)})
    assert contents[0] == contents[1]
    assert not any(stamp in content for content in contents[0].values() for stamp in (b"dc:date", b"CreationDate"))


def test_exploding_gaps_get_a_symmetric_log_axis(many: Results) -> None:
    runs = [part for _, part in many.gaps.groupby(["level", "kl_level", "replicate"])]
    started = [run.assign(gap_paper=gap_paper(run["proxy"], np.where(run["step"] == 0, 0, 0.4))) for run in runs]
    gaps = pd.concat(started, ignore_index=True)
    assert gaps["gap_paper"].abs().max() > 3e6
    top, _, bottom, _ = draw("gap_by_step", replace(many, gaps=gaps)).axes
    assert (top.get_yscale(), bottom.get_yscale()) == ("linear", "symlog")
    assert bottom.get_ylim()[0] < -3e6
    assert len(bottom.get_yticks()) < 12


def test_onset_says_how_many_replicates_have_one(many: Results) -> None:
    runs = many.runs.copy()
    runs["onset"] = np.where((runs["level"] == "p20") & (runs["replicate"] < 2), 20.0, np.nan)
    top = draw("gap_by_step", replace(many, runs=runs)).axes[0]
    assert [t.get_text() for t in top.texts] == ["2/3"]
    assert [list(line.get_xdata()) for line in top.lines if line.get_marker() == "v"] == [[20]]
    none = {arm: {"gap": None, "gap_paper": None} for arm in many.arms}
    nobody = replace(many, runs=runs.assign(onset=np.nan), scales={**many.scales, "thresholds": none})
    assert not draw("gap_by_step", nobody).axes[0].texts


def test_every_arm_shows_its_own_threshold(many: Results, drawn: dict[tuple[str, str], Figure]) -> None:
    for ax, arm in zip(drawn["gap_by_step", "many"].axes[:2], many.arms, strict=True):
        (dashed,) = [line for line in ax.lines if line.get_linestyle() == "--"]
        assert dashed.get_ydata()[0] == many.scales["thresholds"][arm]["gap"]
    first, second = (many.scales["thresholds"][arm]["gap"] for arm in many.arms)
    assert first != second


def test_beta_star_is_marked_only_where_it_exists(many: Results) -> None:
    published = fit([0.310, 1.0, 2.379], [31.1, 43.0, 145.8])
    falling = fit([0.310, 1.0, 2.379], [145.8, 43.0, 31.1])
    figure = draw("augc_by_beta", replace(many, fits={("dpo", "paper"): published, ("dpo", "matched"): falling}))
    rising, none = figure.axes
    stars = [(line.get_xdata()[0], line.get_ydata()[0]) for line in rising.lines if line.get_marker() == "*"]
    assert sorted(x for x, _ in stars) == pytest.approx([1.0814, 1.1050], abs=1e-4)
    assert [p.get_x() for p in rising.patches] == pytest.approx([0.04, 1.1050], abs=1e-4)  # safe, danger
    assert "exact by construction" in rising.get_title()
    assert r"12.5 $\beta^{2.56}$ + 30.5" in rising.get_title()
    assert not none.patches
    assert not [line for line in none.lines if line.get_marker() == "*"]
    assert "no power law\nno increase" in none.get_title()
    assert "safe zone" in texts(figure)
    assert "zone" not in texts(draw("augc_by_beta", replace(many, fits=dict.fromkeys(many.fits, falling))))


def test_rivals_are_thin_lines_between_the_betas(many: Results, drawn: dict[tuple[str, str], Figure]) -> None:
    ax = drawn["augc_by_beta", "many"].axes[0]
    thin = [line for line in ax.lines if line.get_linewidth() == 0.8]
    curves = {c["name"]: c["parameters"] for c in many.fits["dpo", "paper"]["rivals"]["curves"]}
    for line, name in zip(thin, ("linear", "exponential", "power law without c"), strict=True):
        x = line.get_xdata()
        assert (x[0], x[-1]) == pytest.approx((0.4, 2.5))
        assert line.get_ydata() == pytest.approx(rival_at(name, curves[name], x))
    assert not [line for line in drawn["augc_by_beta", "one"].axes[0].lines if line.get_linewidth() == 0.8]


@pytest.mark.parametrize(("panel", "arm", "reward"), [(0, "paper", "proxy"), (3, "matched", "true")])
def test_the_fit_of_gao_runs_as_far_as_its_level(
    many: Results, drawn: dict[tuple[str, str], Figure], panel: int, arm: str, reward: str
) -> None:
    ax = drawn["rewards_by_kl", "many"].axes[panel]
    rows = many.overoptimisation
    for level, colour in colours(many).items():
        (line,) = [f for f in ax.lines if f.get_linestyle() == "--" and same_color(f.get_color(), colour)]
        (row,) = rows[(rows["arm"] == arm) & (rows["level"] == level) & (rows["reward"] == reward)].to_dict("records")
        part = many.curves[(many.curves["arm"] == arm) & (many.curves["level"] == level)]
        x, y = line.get_data()
        assert (x[0], x[-1]) == (0, part["distance"].max())
        assert y[0] == pytest.approx(part.loc[part["step"] == 0, "true" if reward == "true" else "proxy_rise"].mean())
        unit = 0.5 if reward == "true" else 1  # the SD of correctness
        assert y - y[0] == pytest.approx(unit * reward_at(x, row["alpha"], row["bend"]))


def test_the_best_beta_steps_up_as_lambda_grows(many: Results) -> None:
    """AUGC 1, 2, 4 and win rates 0.5, 0.6, 0.7: p50 is best between lambda 10 and 20."""
    alone = fit([0.4, 1.0, 2.5], [1.0, 2.0, 4.0], win_rate=[0.5, 0.6, 0.7])
    blind = fit([0.4, 1.0, 2.5], [1.0, 2.0, 4.0])
    left, right = draw("beta_by_lambda", replace(many, fits={("dpo", "paper"): alone, ("dpo", "matched"): blind})).axes
    (line,) = left.lines
    for at, best in zip(*line.get_data(), strict=True):
        assert best == (0 if at < 10 else 1 if at < 20 else 2)
    assert set(line.get_ydata()) == {0, 1, 2}
    assert not left.collections  # one replicate: no resamples
    assert [text.get_text() for text in right.texts] == ["no win rate"]


def test_bands_over_lambda_add_up_to_all_resamples(many: Results, drawn: dict[tuple[str, str], Figure]) -> None:
    """A study of eight replicates has them; AUGC 1, 2, 4 or 1, 5, 4 with win rates 0.5, 0.6, 0.7."""
    assert not drawn["beta_by_lambda", "many"].axes[0].collections  # of three replicates there are none
    augc = [1.0, 2.0, 4.0] * 4 + [1.0, 5.0, 4.0] * 4
    tradeoff = optimal_conservatism([0.4, 1.0, 2.5] * 8, augc, [0.5, 0.6, 0.7] * 8, np.repeat(np.arange(8), 3))
    fits = {panel: {**law, "tradeoff": tradeoff} for panel, law in many.fits.items()}
    ax = draw("beta_by_lambda", replace(many, fits=fits)).axes[0]
    support = tradeoff["support"]
    assert [to_hex(band.get_facecolor()[0]) for band in ax.collections] == list(colours(many).values())
    top = np.cumsum(support["share"], axis=1)[:, 0] * 3 - 0.5
    lowest = ax.collections[0].get_paths()[0].vertices
    assert lowest[:, 1].min() == -0.5
    assert lowest[:, 1].max() == pytest.approx(top.max())
    assert ax.collections[-1].get_paths()[0].vertices[:, 1].max() == pytest.approx(2.5)
    assert [t.get_text() for t in ax.get_yticklabels()] == ["p20 (0.4)", "p50 (1)", "p80 (2.5)"]


def test_arms_are_paired_by_replicate(many: Results, drawn: dict[tuple[str, str], Figure]) -> None:
    table = many.runs.pivot_table(index=["level", "replicate"], columns="arm", values="augc")
    change = (table["matched"] - table["paper"]).groupby("level").mean()
    right = drawn["arms", "many"].axes[1]
    shown = {line.get_xdata()[0]: line.get_ydata()[0] for line in right.lines if line.get_marker() == "D"}
    assert [shown[x] for x in sorted(shown)] == pytest.approx(change[["p50", "p80"]].to_numpy())  # p20 is shared
    assert "nothing to compare" in texts(drawn["arms", "one"])


def test_p_values_are_never_zero() -> None:
    trend = {key: {"statistic": -1.0, "p_value": 5e-5} for key in ("level_means", "within_replicates")}
    assert correlations(trend) == ["means ρ −1.00, p < 0.001", "replicates ρ −1.00, p < 0.001"]  # noqa: RUF001
    trend["level_means"] = {"statistic": None, "p_value": None}
    assert correlations(trend)[0] == "means ρ undefined"  # noqa: RUF001


def test_mechanism_reports_exact_p(drawn: dict[tuple[str, str], Figure]) -> None:
    title = drawn["mechanism", "many"].axes[0].get_title()
    assert "means ρ +1.00, p 0.333" in title  # noqa: RUF001
    assert f"p {2 / 6**3:.3f}" in title


def test_methods_get_their_own_rows() -> None:
    tables = study(["p20", "p80"], 2, ["paper"], ("dpo", "ipo"))
    figure = draw("gap_by_step", tables)
    assert len(figure.axes) == 4
    assert [ax.get_title().split(",")[0] for ax in figure.axes if ax.get_title()] == ["dpo", "ipo"]
    assert len(draw("entropy", tables).axes) == 8
    assert [ax.get_title().split(",")[0] for ax in draw("beta_by_lambda", tables).axes] == ["dpo", "ipo"]


# The command lines.


@pytest.fixture
def flags(many: Results, tmp_path: Path) -> Callable[..., list[str]]:
    write_table(tmp_path / "gaps.parquet", many.gaps, GAPS)
    write_table(tmp_path / "runs.parquet", many.runs, RUNS)
    write_table(tmp_path / "overoptimisation.parquet", many.overoptimisation, OVEROPTIMISATION)
    write_json(tmp_path / "scales.json", many.scales)
    write_json(tmp_path / "quality.json", QUALITY)
    for (method, arm), law in many.fits.items():
        write_json(tmp_path / "fit" / f"{method}-{arm}.json", law)

    def line(fits: list[str], outputs: list[str]) -> list[str]:
        files = ("gaps.parquet", "runs.parquet", "scales.json", "overoptimisation.parquet", "quality.json")
        named = [f"--{name.split('.')[0]}={tmp_path / name}" for name in files]
        named += ["--fits", *(f"{tmp_path}/fit/{name}.json" for name in fits)]
        return [*named, "--figures", *(f"{tmp_path}/figures/{name}" for name in outputs)]

    return line


def test_draw_figures(flags: Callable[..., list[str]], tmp_path: Path) -> None:
    draw_figures.main(flags(["dpo-paper", "dpo-matched"], ["arms.svg", "arms.pdf", "calibration.svg"]))
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == ["arms.pdf", "arms.svg", "calibration.svg"]
    with pytest.raises(InputError, match="no dpo-matched"):
        draw_figures.main(flags(["dpo-paper"], ["arms.svg"]))
    for name in ("arm.svg", "arms.png"):
        with pytest.raises(InputError, match=rf"{name} is not a .pdf or .svg of a figure"):
            draw_figures.main(flags(["dpo-paper", "dpo-matched"], [name]))


def responses(folder: Path, before: str, after: str) -> list[str]:
    """The flags of files of responses, to a problem a letter: upper case is right.

    The rewards of problem i are 0 and 1 at first and i and i + 2 at last.
    """
    run = {"method": "dpo", "level": "p20", "beta": 0.4, "replicate": 3, "kl_level": "p50", "kl_beta": 1.0}
    rows = [
        {
            **run,
            "step": step,
            "problem_id": f"e-{i}",
            "response": f"&{step}-{i}\n  <b>",
            "finished": step == 0,
            "tokens": 3 + step,
            "correct": letter.isupper(),
            "correct_flexible": True,
            "rewards": [i * (step / 40), i * (step / 40) + (2 if step else 1)],
            "log_ratio": 0.0,
            "log_ratio_reference": 0.0,
            **dict.fromkeys(("held_out", "judge", "token_ids", "token_log_ratios")),
        }
        for step, letters in ((0, before), (40, after))
        for i, letter in enumerate(letters)
    ]
    problems = [
        {"problem_id": f"e-{i}", "split": split, "prompt": "<script>alert(1)</script>\n", "answer": "a<b"}
        for split in ("online", "evaluation")
        for i in range(len(before))
    ]
    write_table(folder / "responses.parquet", rows, ONLINE_RESPONSES)
    write_table(folder / "problems.parquet", problems, PROBLEMS)
    return [f"--{name}={folder / name}.parquet" for name in ("responses", "problems")]


def test_show_samples(tmp_path: Path) -> None:
    """The reward of problem i goes from 1 / 2 to i + 1, so that the mean of 8 rises by 4 and every proxy rises.

    The spread of two members 1 apart is 1 / sqrt(2), and of two that are 2 apart sqrt(2).
    """
    given = responses(tmp_path, "AAAAaaaA", "aaaAAaaa")  # from right to wrong: 0, 1, 2, 7
    outputs = [tmp_path / "first.html", tmp_path / "second.html"]
    for output in outputs:
        show_samples.main([*given, "--examples=2", "--seed=0", f"--page={output}"])
    assert outputs[0].read_bytes() == outputs[1].read_bytes()
    page = outputs[0].read_text()
    parsed = Balanced(page)
    assert parsed.open == []
    assert parsed.seen.count("article") == 4
    assert "script" not in parsed.seen
    assert "b" not in parsed.seen
    assert "src=" not in page
    assert "http" not in page
    for name, value in {
        "problems": 8,
        "right at both evaluations": 1,
        "right, then wrong": 4,
        "wrong, then right": 1,
        "wrong at both evaluations": 2,
        "mean change of the proxy": "+4.000",
        "problems whose proxy rose": 8,
        "mean change of the uncertainty": "+0.707",
        "mean change of the length": "+40.0 tokens",
    }.items():
        assert f"<th>{name}</th><td>{value}</td>" in page
    assert "largest rise of the proxy: 2 of 4<" in page
    assert "Drawn at random: 2 of the other 6<" in page
    assert page.index("Problem e-7") < page.index("Problem e-2") < page.index("Drawn at random:")
    assert "&amp;40-7\n  &lt;b&gt;" in page  # escaped, line break and spaces kept
    assert "&lt;script&gt;alert(1)" in page  # the prompt is that of the problem
    assert "The correct answer is a&lt;b. The proxy changed by +7.500" in " ".join(page.split())
    assert page.count("truncated at the token limit") == 4
    shown = "level p20 (β = 0.4), online penalty with the beta of p50 (β = 1), replicate 3"
    assert shown in " ".join(page.split())


def test_a_rise_of_0_is_none(tmp_path: Path) -> None:
    """Problem 0 falls from right to wrong at an equal proxy; a single member has no spread."""
    given = responses(tmp_path, "AA", "aa")
    table = pd.read_parquet(tmp_path / "responses.parquet")
    table["rewards"] = [[0.0], [0.0], [0.0], [1.0]]
    write_table(tmp_path / "responses.parquet", table, ONLINE_RESPONSES)
    show_samples.main([*given, "--examples=2", "--seed=0", f"--page={tmp_path / 'page.html'}"])
    page = (tmp_path / "page.html").read_text()
    assert "largest rise of the proxy: 1 of 1<" in page
    assert "<th>problems whose proxy rose</th><td>1</td>" in page
    assert "<th>mean change of the uncertainty</th><td>+0.000</td>" in page


def test_show_samples_with_little_to_show(tmp_path: Path) -> None:
    given = responses(tmp_path, "A", "A")
    output = tmp_path / "page.html"
    show_samples.main([*given, "--examples=5", "--seed=0", f"--page={output}"])
    assert "0 of 0<" in output.read_text()
    assert "Drawn at random: 1 of the other 1<" in output.read_text()
    with pytest.raises(InputError, match="at least 1"):
        show_samples.main([*given, "--examples=0", "--seed=0", f"--page={output}"])
    path = tmp_path / "responses.parquet"
    write_table(path, pd.read_parquet(path).query("step == 0"), ONLINE_RESPONSES)
    with pytest.raises(InputError, match="single step"):
        show_samples.main([*given, "--examples=5", "--seed=0", f"--page={output}"])


# The report.


def configurations() -> dict[str, dict[str, Any]]:
    pocket = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    given = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    given["task"]["source"] = given["preferences"]["source"] = "dataset"
    given["policy"]["model"] = given["reward"]["model"] = "some/model_"
    given["arms"]["matched"] = None  # dropped
    return {"pocket": pocket, "given": given}


@pytest.mark.parametrize("study", ["pocket", "given"])
@pytest.mark.parametrize("path", sorted((ROOT / "workflow" / "report").glob("*.rst")), ids=lambda path: path.stem)
def test_captions_render(path: Path, study: str) -> None:
    docutils = pytest.importorskip("docutils.core")
    jinja2 = pytest.importorskip("jinja2")
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    context = {"config": configurations()[study], "input": ["run"], "params": {"examples": 6}}
    text = environment.from_string(path.read_text()).render(snakemake=context)
    heard = StringIO()
    docutils.publish_string(text, writer="html", settings_overrides={"warning_stream": heard, "report_level": 1})
    assert heard.getvalue() == ""
    assert "None" not in text
    if path.stem in FIGURES and path.stem != "calibration":
        assert "n = 3" in " ".join(text.split())


def test_every_figure_is_in_the_rule_with_a_caption() -> None:
    rule = (ROOT / "workflow" / "rules" / "figures.smk").read_text()
    for name in FIGURES:
        assert f'"{name}": (' in rule
    captions = {path.stem for path in (ROOT / "workflow" / "report").glob("*.rst")}
    assert captions >= {*FIGURES, "samples", "workflow"}
