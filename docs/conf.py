"""How Sphinx makes the site of these pages: `make docs`.

The tree of the site is that of the repository, so a link means the same in both.
"""

import sys
from pathlib import Path

import ledger

# Behind `import ledger`: what is installed is described, which need not be the tree.
sys.path.insert(0, str(Path(__file__).parents[1]))

project = "unledger"
author = "the authors of unledger"
project_copyright = "the authors of unledger"
version = release = ledger.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "docs.building.extension",
]
include_patterns = ["docs/**", "*.md"]
exclude_patterns = ["docs/building/**", "docs/pictures/**"]
root_doc = "docs/index"
html_theme = "furo"
html_title = "unledger"
html_static_path = ["building/static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False
html_additional_pages = {"index": "start.html"}
templates_path = ["building/templates"]

# Pages are written for GitHub's reader: anchors of headings are made as there.
myst_heading_anchors = 4
myst_enable_extensions = ["html_image"]
nb_execution_mode = "off"

add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"

nitpicky = True
