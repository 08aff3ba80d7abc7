//! `realmserver._native`: changesets and their merge in machine code, behind the interface of
//! `realmserver/merge/compact.py`.
//!
//! The Python modules `realmserver/changeset` and `realmserver/merge` say what is right and why; the modules here have
//! their names and give the same bytes and the same judgement for every input. The specification is in
//! `spec/changeset.md` and `spec/merge.md`.

#![forbid(unsafe_code)]

mod compact;
mod decode;
mod encode;
mod instructions;
mod names;
mod plain;
mod reader;

use pyo3::exceptions::PyOverflowError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use compact::CompactChangeset;

/// Bytes from which on other threads may run while a changeset is read.
const LONG: usize = 64 * 1024;

#[pymodule]
mod _native {
    #[pymodule_export]
    use super::{parse, CompactChangeset};
}

/// The changeset that `data` holds; None where `realmserver.changeset.decode.decode` raises BadChangeset.
#[pyfunction]
fn parse(
    py: Python<'_>,
    data: Bound<'_, PyBytes>,
    timestamp: u64,
    origin: u64,
    clear_types: bool,
) -> PyResult<Option<CompactChangeset>> {
    let input = PyBackedBytes::from(data);
    if input.len() > u32::MAX as usize {
        return Err(PyOverflowError::new_err("a changeset of more than 4 GiB"));
    }
    let is_long = input.len() > LONG;
    let read = || decode::decode(input, timestamp, origin, clear_types, false);
    let changeset = if is_long { py.detach(read) } else { read() };
    Ok(changeset.map(CompactChangeset::new))
}
