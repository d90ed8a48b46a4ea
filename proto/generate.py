"""Regenerate the checked-in protobuf code: ``python proto/generate.py [--into DIR]``.

The output goes to ``kvnode/v1/`` (or below DIR); ``tests/architecture/test_package.py`` fails when
it is stale.
"""

import argparse
import sys
from pathlib import Path

PROTO = Path(__file__).resolve().parent


def generate(into: Path) -> None:
    """Write ``kvnode/v1/*_pb2.py(i)`` and ``*_pb2_grpc.py`` below ``into``; raise on any error."""
    try:
        from google.rpc import status_pb2
        from grpc_tools import protoc
    except ImportError:
        raise SystemExit(
            "grpcio-tools is not installed: run ./cluster/setup test first, "
            "then .venv/bin/python proto/generate.py"
        ) from None

    sources = sorted(str(path.relative_to(PROTO)) for path in PROTO.glob("kvnode/v1/*.proto"))
    include = Path(protoc.__file__).parent / "_proto"
    common = Path(status_pb2.__file__).parents[2]  # where "google/rpc/status.proto" is
    code = protoc.main(
        [
            "protoc",
            f"-I{PROTO}",
            f"-I{include}",
            f"-I{common}",
            f"--python_out={into}",
            f"--pyi_out={into}",
            f"--grpc_python_out={into}",
            *sources,
        ]
    )
    if code != 0:
        raise SystemExit(f"protoc failed with exit code {code}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--into", type=Path, default=PROTO.parent)
    generate(parser.parse_args().into)
    sys.stdout.write("generated\n")
