"""Packaging of fastreid-ext. Nothing is imported or compiled at build time."""

import ast
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent

# The version stands in fastreid_ext/__init__.py alone, which is read here and not imported: it needs torch.
VERSION = next(
    ast.literal_eval(node.value)
    for node in ast.parse((ROOT / "fastreid_ext" / "__init__.py").read_text(encoding="utf-8")).body
    if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__version__"
)

# The shipped yamls live at the top of the tree and are installed inside the package, where
# fastreid_ext.model_zoo finds them: every folder of configs/ is a data-only package of the wheel.
CONFIG_PACKAGES = {
    ".".join(("fastreid_ext.model_zoo", *folder.relative_to(ROOT).parts)): str(folder.relative_to(ROOT))
    for folder in (ROOT / "configs", *sorted(p for p in (ROOT / "configs").rglob("*") if p.is_dir()))
}

DOCS = ["sphinx>=8.1", "myst-parser>=4.0", "furo>=2024.8.6"]  # MIT and BSD; the site loads nothing from elsewhere

setup(
    name="fastreid-ext",
    version=VERSION,
    description="Deep Miner, MSReID, MGRe, Res2Net and occluded person re-identification as FastReID plug-ins",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license_expression="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.10",
    packages=[*find_packages(include=["fastreid_ext", "fastreid_ext.*"]), *CONFIG_PACKAGES],
    package_dir={"fastreid_ext": "fastreid_ext", **CONFIG_PACKAGES},
    package_data={
        **{name: ["*.yml"] for name in CONFIG_PACKAGES},
        "fastreid_ext": ["py.typed"],
        "fastreid_ext.report": ["templates/*"],
        "fastreid_ext.zoo": ["*.safetensors", "*.md", "*.json"],  # the models that the package ships, with their cards
    },
    install_requires=[
        "torch>=2.8,!=2.13.0",  # 2.13.0 may come as a CPU build whose torchvision does not import
        "torchvision>=0.23",
        "numpy>=1.26",
        "opencv-python-headless>=4.10",
        "Pillow>=10.3",
        "faiss-cpu>=1.10",
        "scikit-learn>=1.4",
        "yacs>=0.1.8",
        "PyYAML>=6.0",
        "tabulate>=0.9",
        "termcolor>=2.3",
        "tensorboard>=2.16",
        "gdown>=5.1",
        "h5py>=3.10",
        "matplotlib>=3.8",
        "scipy>=1.11",
        "tqdm>=4.66",
        "safetensors>=0.4",
        # a forked child does not hold its parent's locks; 4.1 is the last for Python 3.10
        "filelock>=4.3; python_version >= '3.11'",
        "filelock>=4.1; python_version < '3.11'",
    ],
    extras_require={
        "dev": [
            "pytest>=8.2",
            "pytest-timeout>=2.3",
            "pytest-xdist>=3.6",
            "ruff>=0.6",
            "onnx>=1.16",
            "onnxruntime>=1.18",
            "onnxscript>=0.5",
            "openvino>=2025.0",
            "plotly>=6.0",
            "Jinja2>=3.1",
            "timm>=1.0.31",  # Apache-2.0; the first with all networks that the tests try
            "pyarrow>=17",
            "setuptools>=77",  # the tests build the wheel
            "twine>=6.1",
            *DOCS,
        ],
        "docs": DOCS,
        "export": ["onnx>=1.16", "onnxruntime>=1.18", "onnxscript>=0.5"],
        "openvino": ["openvino>=2025.0"],
        "report": ["plotly>=6.0", "Jinja2>=3.1"],
        "pose": ["onnxruntime>=1.18"],
        "parquet": ["pyarrow>=17"],
        "timm": ["timm>=1.0.23"],  # the first whose blocks say how all their numbers begin
        "gpu": [],  # torch brings CUDA; faiss-gpu takes the place of faiss-cpu by the lines in docs/install.md
    },
    entry_points={"console_scripts": ["fastreid-ext = fastreid_ext.cli:main"]},
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in (10, 11, 12, 13)),
        "Topic :: Scientific/Engineering :: Image Recognition",
        "Typing :: Typed",
    ],
)
