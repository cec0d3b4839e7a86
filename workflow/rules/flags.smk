"""The flags of a step's script: the names of its files and the keys of its settings.

`flags_of` returns the params of a rule; the rule inherits everything else from `steps.smk`.
"""

import shlex
from collections.abc import Mapping

from goodhart.store.fingerprint import fingerprint

# Settings that several steps share, and the inputs of steps that evaluate a policy.
MODELS = {name: config[name] for name in ("precision", "threads")}
SAMPLED = MODELS | study.sampling(config) | {"verifier": study.verifier_of(config)}
EVALUATED = {
    "adapter": f"{OFFLINE_RUN}/adapter",
    "metrics": f"{OFFLINE_RUN}/metrics.json",
    "policy": drawn("policy", POLICY),
    "backbone": THE_BACKBONE,
    "members": drawn("rewards", *MEMBERS),
    **({"held_out": drawn("rewards", *HELD_OUT)} if HELD_OUT else {}),
    "quality": drawn("scores", QUALITY),
    "centroid": drawn("scores", CENTROID),
    "problems": drawn("task", PROBLEMS),
    "derived_reward": drawn("preferences", DERIVED["reward"]),
}


def seeded(section):
    """The seed of a section of the configuration in a replicate: settings as a function of the wildcards."""
    return lambda wildcards: {"seed": section["seed"] + int(wildcards.replicate)}


def evaluation_seed(name="evaluation_seed"):
    """The seed of the evaluation responses: the same for all policies of replicates with the same problems."""
    return lambda wildcards: {
        name: study.evaluation_seed(config, int(wildcards.replicate))
    }


def flags_of(script, *settings, autosave=False, **more):
    """The params of a step: its script, the fingerprint of all the code it runs, and its flags.

    A named input or output becomes the flag of that name; an unnamed input or output is only a dependency. Flags are
    functions, because Snakemake would interpret {question} in a string as a wildcard.

    Args:
        settings: a section of the configuration, whose keys become flags; the name of a wildcard; or a function of the
            wildcards that returns such a section. Null values and nested sections are omitted.
        autosave: whether the script saves checkpoints, whose folder and interval are not settings as they change no
            result.
        more: further settings.
    """

    def files(wildcards, input, output):
        named = [*input.items(), *output.items()]
        if autosave:
            run = "-".join(Path(output[0]).relative_to(RESULTS).parts)
            named.append(("checkpoints", f"{CHECKPOINTS}/{run}"))
            named.append(("checkpoint_minutes", config["checkpoint_minutes"]))
        return " ".join(f"--{_spelt(name)} {_short(value)}" for name, value in named)

    def given(wildcards):
        values = {}
        for one in [*settings, more]:
            if isinstance(one, str):
                one = {one: wildcards[one]}
            values |= one(wildcards) if callable(one) else one
        return " ".join(
            shlex.quote(f"--{_spelt(name)}={value}")
            for name, entry in values.items()
            for value in (entry if isinstance(entry, list) else [entry])
            if value is not None and not isinstance(value, Mapping)
        )

    code = fingerprint(SCRIPTS / f"{script}.py")
    return {"script": script, "code": code, "files": files, "settings": given}


def _short(value):
    """A list of many paths as one bash brace expansion, because a command has a limited length."""
    paths = str(value).split()
    if len(paths) < 20:
        return value
    first = os.path.commonprefix(paths)
    last = os.path.commonprefix([path[len(first) :][::-1] for path in paths])[::-1]
    middles = [path[len(first) : len(path) - len(last)] for path in paths]
    return f"{first}{{{','.join(middles)}}}{last}"


def _spelt(name):
    return name.replace("_", "-")
