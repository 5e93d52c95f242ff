"""The child that makes a task's data: `python -I -B preparing.py PREPARE_PY DATA_FOLDER`.

It loads prepare.py by its path, calls `prepare(data, report)` and prints what is reported. Only
the standard library: it is started by file name and cannot count on ours being importable.
"""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path


def main(prepare_file: str, data: str) -> None:
    spec = spec_from_file_location("prepare", prepare_file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{prepare_file} cannot be loaded")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    module.prepare(Path(data), lambda line: print(line, flush=True))


if __name__ == "__main__":
    main(*sys.argv[1:])
