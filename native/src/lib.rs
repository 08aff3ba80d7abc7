//! The core of the server in machine code: the Python module `realmserver._native`.
//!
//! It is there where it could be built (`setup.py`), and `realmserver/_build.py` says whether it is. What it has for
//! Python is typed in `realmserver/_native.pyi`.

use pyo3::prelude::*;

#[pymodule]
mod _native {}
