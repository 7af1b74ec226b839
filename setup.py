"""Copies params.yaml, which DVC needs at the repository's root, into the built package."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithParams(build_py):
    def run(self) -> None:
        super().run()
        if not self.editable_mode:  # an editable install reads the file at the root
            self.copy_file("params.yaml", str(Path(self.build_lib, "tpifu", "params.yaml")))


setup(cmdclass={"build_py": BuildWithParams})
