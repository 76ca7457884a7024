# SPDX-License-Identifier: Apache-2.0
"""How Sphinx builds the site; docs/README.md has the commands.

Nothing is fetched while the site is built, and its pages load nothing from other hosts.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import warpfactor

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS / "_extensions"))

project = "warpfactor"
author = "the authors of warpfactor"
project_copyright = "the authors of warpfactor, Apache-2.0"
version = release = warpfactor.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_nb",
    "sphinx_design",
    "sphinx_click",
    "breathe",
    # in _extensions
    "figures",
    "docstrings",
    "headers",
    "examples",
    "complete",
    "offline",
]
exclude_patterns = ["README.md", "_*"]
templates_path = ["_templates"]
nitpicky = True
smartquotes = False  # two hyphens are the beginning of an option, not a dash
# Each header opens the namespace, and Sphinx takes every opening for a declaration. A page that is not executed does not
# know its language.
suppress_warnings = ["duplicate_declaration.cpp", "myst-nb.lexer"]

# Python. Signatures are shown without types: the docstrings say them with shapes and units.
autodoc_typehints = "none"
autodoc_member_order = "groupwise"
autosummary_generate = True
toc_object_entries_show_parents = "hide"
numpydoc_show_class_members = False
numpydoc_use_plots = False
numpydoc_validation_checks: set[str] = set()
# A name in single backticks is a link where the reference has it, and else code.
default_role = "py:obj"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88

# C++. Names of the standard library and template parameters have no page here.
breathe_default_project = "warpfactor"
breathe_default_members = ("members",)
cpp_maximum_signature_line_length = 88
nitpick_ignore_regex = [(r"cpp:identifier", r"std(::.*)?|T|Args|U?[Ii]nt\w*")]

# Markdown. Cells run in a kernel of Python in a temporary folder, and any error is a warning.
myst_enable_extensions = ["attrs_block", "attrs_inline", "colon_fence", "deflist"]
myst_heading_anchors = 4
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_show_tb = True
nb_execution_timeout = 120
nb_merge_streams = True
nb_ipywidgets_js: dict[str, dict[str, str]] = {}  # they would come from another host
nb_mime_priority_overrides = [("*", "text/latex", None)]  # so would what sets formulas
nb_render_markdown_format = "myst"
# A profile for the kernels, so that nothing depends on that of whoever builds.
profile = DOCS / "_generated" / "ipython" / "profile_default"
(profile / "startup").mkdir(parents=True, exist_ok=True)
shutil.copy(DOCS / "_extensions" / "kernel_startup.py", profile / "startup")
(profile / "ipython_kernel_config.py").write_text(
    "c.Application.log_level = 'ERROR'\n", encoding="utf-8"
)
os.environ["IPYTHONDIR"] = str(profile.parent)
os.environ["WARPFACTOR_ROOT"] = str(DOCS.parent)
# Pages that need real rating sets name the variable that says where they are.
nb_execution_excludepatterns = [
    str(page.relative_to(DOCS))
    for page in DOCS.rglob("*.md")
    if "WARPFACTOR_DATA" not in os.environ and "WARPFACTOR_DATA" in page.read_text(encoding="utf-8")
]

html_theme = "pydata_sphinx_theme"
html_title = f"warpfactor {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_show_sphinx = False
html_sidebars = {"index": [], "performance": [], "limits": [], "changelog": []}
html_theme_options = {
    "logo": {"text": "warpfactor"},
    "header_links_before_dropdown": 6,
    "navbar_align": "left",
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "secondary_sidebar_items": {"**": ["page-toc"], "index": []},
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
