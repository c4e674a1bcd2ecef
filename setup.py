"""Packaging of fastreid-ext. Nothing is imported or compiled at build time."""

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = "0.1.0"  # tests/test_packaging.py holds it equal to fastreid_ext.__version__

# The shipped yamls live at the top of the tree and are installed inside the package, where
# fastreid_ext.model_zoo finds them: every folder of configs/ is a data-only package of the wheel.
CONFIG_PACKAGES = {
    ".".join(("fastreid_ext.model_zoo", *folder.relative_to(ROOT).parts)): str(folder.relative_to(ROOT))
    for folder in (ROOT / "configs", *sorted(p for p in (ROOT / "configs").rglob("*") if p.is_dir()))
}

setup(
    name="fastreid-ext",
    version=VERSION,
    description="Deep Miner, MSReID, MGRe, Res2Net and occluded person re-identification as FastReID plug-ins",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=[*find_packages(include=["fastreid_ext", "fastreid_ext.*"]), *CONFIG_PACKAGES],
    package_dir={"fastreid_ext": "fastreid_ext", **CONFIG_PACKAGES},
    package_data={
        **{name: ["*.yml"] for name in CONFIG_PACKAGES},
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
        ],
        "export": ["onnx>=1.16", "onnxruntime>=1.18", "onnxscript>=0.5"],
        "openvino": ["openvino>=2025.0"],
        "report": ["plotly>=6.0", "Jinja2>=3.1"],
        "pose": ["onnxruntime>=1.18"],
        "parquet": ["pyarrow>=17"],
        "timm": ["timm>=1.0.23"],  # the first whose blocks say how all their numbers begin
        "gpu": [],  # torch brings CUDA; faiss-gpu would overwrite the faiss-cpu that FastReID imports
    },
    entry_points={"console_scripts": ["fastreid-ext = fastreid_ext.cli:main"]},
    classifiers=[
        "License :: OSI Approved :: Apache Software License",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Image Recognition",
    ],
)
