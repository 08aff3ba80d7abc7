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
mod gil;
mod instructions;
mod merge;
mod names;
mod plain;
mod reader;

use pyo3::exceptions::{PyOverflowError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyType};

use compact::CompactChangeset;
use gil::{work, LONG, MANY};
use instructions::Changeset;
use merge::errors::{MergeError, TOO_LARGE};
use names::describe;

#[pymodule]
mod _native {
    #[pymodule_export]
    use super::{merge_runs, parse, CompactChangeset};
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
    let changeset = work(py, is_long, || {
        decode::decode(input, timestamp, origin, clear_types, false)
    });
    Ok(changeset.map(CompactChangeset::new))
}

/// As `realmserver.merge.walk.merge` with a budget of `meetings`; returns what is left of the budget.
#[pyfunction]
#[pyo3(name = "merge")]
fn merge_runs(
    py: Python<'_>,
    incoming: Vec<Bound<'_, CompactChangeset>>,
    local: Vec<Bound<'_, CompactChangeset>>,
    meetings: i64,
) -> PyResult<i64> {
    let mut incoming = borrowed(&incoming)?;
    let mut local = borrowed(&local)?;
    let was_dirty = incoming
        .iter()
        .chain(&local)
        .map(|each| each.changeset.dirty);
    let was_dirty: Vec<bool> = was_dirty.collect();
    let merged = {
        let mut one = changesets(&mut incoming);
        let mut other = changesets(&mut local);
        let both = one.iter_mut().chain(&mut other);
        let size: usize = both
            .map(|changeset| {
                changeset.dirty = false;
                changeset.instructions.len()
            })
            .sum();
        work(py, size > MANY, || {
            merge::merge(&mut one, &mut other, meetings)
        })
    };
    for (each, was_dirty) in incoming.iter_mut().chain(&mut local).zip(was_dirty) {
        if each.changeset.dirty {
            each.changed();
        }
        each.changeset.dirty |= was_dirty;
    }
    match merged {
        Ok(left) => Ok(left),
        Err(MergeError::TooLarge) => Err(raise(py, "MergeTooLarge", TOO_LARGE.to_owned())),
        Err(MergeError::Transform { what, place }) => {
            let side = if place.incoming { &incoming } else { &local };
            let changeset = &side[place.side].changeset;
            let instruction = &changeset.instructions[place.at as usize];
            let text = format!("{what}: {}", describe(py, changeset, instruction)?);
            Err(raise(py, "TransformError", text))
        }
    }
}

fn borrowed<'py>(
    run: &[Bound<'py, CompactChangeset>],
) -> PyResult<Vec<PyRefMut<'py, CompactChangeset>>> {
    let borrow = |each: &Bound<'py, CompactChangeset>| {
        each.try_borrow_mut().map_err(|_| {
            PyRuntimeError::new_err("a changeset is in a merge twice, or in use elsewhere")
        })
    };
    run.iter().map(borrow).collect()
}

fn changesets<'a>(run: &'a mut [PyRefMut<'_, CompactChangeset>]) -> Vec<&'a mut Changeset> {
    run.iter_mut().map(|each| &mut each.changeset).collect()
}

/// An error of `realmserver.merge.errors`.
fn raise(py: Python<'_>, name: &str, text: String) -> PyErr {
    static ERRORS: PyOnceLock<[Py<PyType>; 2]> = PyOnceLock::new();
    let errors = ERRORS.get_or_try_init(py, || {
        let module = py.import("realmserver.merge.errors")?;
        let kind = |name| Ok::<_, PyErr>(module.getattr(name)?.cast_into::<PyType>()?.unbind());
        Ok::<_, PyErr>([kind("TransformError")?, kind("MergeTooLarge")?])
    });
    match errors {
        Ok([transform, too_large]) => {
            let kind = if name == "MergeTooLarge" {
                too_large
            } else {
                transform
            };
            PyErr::from_type(kind.bind(py).clone(), text)
        }
        Err(error) => error,
    }
}
