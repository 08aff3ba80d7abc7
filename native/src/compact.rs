//! `CompactChangeset`: a changeset as its bytes and an index into them.
//!
//! Its truth is the class of that name in `realmserver/merge/compact.py`. Nothing of a changeset becomes a Python object
//! before it is asked for.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyFrozenSet, PyTuple};

use crate::decode::decode;
use crate::encode::encode;
use crate::gil::{work, LONG};
use crate::instructions::*;
use crate::names::Names;
use crate::plain::{plain, Distinct, Plain};

#[pyclass(module = "realmserver._native")]
pub struct CompactChangeset {
    pub changeset: Changeset,
    canonical: Option<Py<PyBytes>>,
}

impl CompactChangeset {
    pub fn new(changeset: Changeset) -> CompactChangeset {
        CompactChangeset {
            changeset,
            canonical: None,
        }
    }

    /// The merge has changed it: the canonical bytes are others.
    pub fn changed(&mut self) {
        self.canonical = None;
    }
}

#[pymethods]
impl CompactChangeset {
    #[getter]
    fn timestamp(&self) -> u64 {
        self.changeset.timestamp
    }

    #[getter]
    fn origin(&self) -> u64 {
        self.changeset.origin
    }

    /// Whether the merge has changed it since it was parsed or settled.
    #[getter]
    fn dirty(&self) -> bool {
        self.changeset.dirty
    }

    /// The number of instructions, discarded ones counted.
    #[getter]
    fn size(&self) -> usize {
        self.changeset.instructions.len()
    }

    /// The canonical bytes of what is live; the very bytes that were parsed if these are canonical.
    fn canonical<'py>(&mut self, py: Python<'py>) -> Bound<'py, PyBytes> {
        if let Some(bytes) = &self.canonical {
            return bytes.bind(py).clone();
        }
        let changeset = &self.changeset;
        let bytes = if changeset.instructions.is_empty() {
            PyBytes::new(py, b"")
        } else if changeset.canonical && !changeset.dirty {
            let Ok(bytes) = (&changeset.input).into_pyobject(py);
            bytes
        } else {
            let is_long = changeset.input.len() > LONG;
            PyBytes::new(py, &work(py, is_long, || encode(changeset)))
        };
        self.canonical = Some(bytes.clone().unbind());
        bytes
    }

    /// What it names: `Summary.references`.
    fn references<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyFrozenSet>> {
        let changeset = &self.changeset;
        let mut names = Names::new(py, changeset);
        let mut objects = Distinct::new();
        let mut references: Vec<Bound<'py, PyAny>> = Vec::new();
        let mut last = None;
        for instruction in changeset.live() {
            match instruction.op {
                ADD_TABLE => references.push(names.name(instruction.table)?.into_any()),
                ADD_COLUMN => {
                    let table = names.name(instruction.table)?;
                    let column = (table, names.name(instruction.field)?);
                    references.push(column.into_pyobject(py)?.into_any());
                }
                ERASE_TABLE | ERASE_COLUMN => {}
                _ if last == Some(instruction.object) => {}
                _ => {
                    last = Some(instruction.object);
                    let key = changeset.key(instruction);
                    if objects.place((instruction.table, key)).1 {
                        let object = (names.name(instruction.table)?, names.key(key)?);
                        references.push(object.into_pyobject(py)?.into_any());
                    }
                }
            }
        }
        PyFrozenSet::new(py, references)
    }

    /// Whether it erases a class or a column.
    fn destructive(&self) -> bool {
        self.changeset
            .live()
            .any(|each| matches!(each.op, ERASE_TABLE | ERASE_COLUMN))
    }

    /// The columns that it erases, (class, field) each.
    fn erased_columns<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyTuple>>> {
        let mut names = Names::new(py, &self.changeset);
        self.changeset
            .live()
            .filter(|each| each.op == ERASE_COLUMN)
            .map(|each| (names.name(each.table)?, names.name(each.field)?).into_pyobject(py))
            .collect()
    }

    /// The objects and the writes of a changeset that only creates objects and sets their properties; else None.
    fn plain<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyTuple>>> {
        let Some(Plain { objects, writes }) = plain(&self.changeset) else {
            return Ok(None);
        };
        let mut names = Names::new(py, &self.changeset);
        let mut first = Vec::with_capacity(objects.len());
        for (table, key, created) in objects {
            let object = (names.name(table)?, names.key(key)?, created);
            first.push(object.into_pyobject(py)?);
        }
        let mut second = Vec::with_capacity(writes.len());
        for (table, field, number, target) in writes {
            let table = names.name(table)?;
            let field = names.name(field)?;
            second.push(match target {
                Some((class, key)) => {
                    (table, field, number, names.name(class)?, key).into_pyobject(py)?
                }
                None => (table, field, number, "", 0).into_pyobject(py)?,
            });
        }
        let parts = (PyTuple::new(py, first)?, PyTuple::new(py, second)?);
        Ok(Some(parts.into_pyobject(py)?))
    }

    /// Give the memory back, whoever still holds this: it is not used any more.
    fn release(&mut self) {
        let changeset = &mut self.changeset;
        changeset.instructions = Vec::new();
        changeset.objects = Vec::new();
        changeset.paths = Vec::new();
        self.canonical = None;
    }

    /// Become what parsing the canonical bytes gives.
    fn settle(&mut self, py: Python<'_>) -> PyResult<()> {
        let Changeset {
            timestamp,
            origin,
            canonical,
            dirty,
            ..
        } = self.changeset;
        if canonical && !dirty {
            return Ok(());
        }
        let bytes = self.canonical(py);
        let input = PyBackedBytes::from(bytes);
        let is_long = input.len() > LONG;
        let settled = work(py, is_long, || decode(input, timestamp, origin, true, true));
        self.changeset = settled
            .ok_or_else(|| PyRuntimeError::new_err("a changeset cannot be read after a merge"))?;
        Ok(())
    }
}
