//! The strings and keys of a changeset as Python objects, made when they are asked for.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyInt, PyString, PyTuple};

use crate::instructions::*;

/// A string as the Python reader decodes it: UTF-8 with surrogateescape.
pub fn to_str<'py>(py: Python<'py>, text: &[u8]) -> PyResult<Bound<'py, PyString>> {
    match std::str::from_utf8(text) {
        Ok(text) => Ok(PyString::new(py, text)),
        Err(_) => PyString::from_encoded_object(
            PyBytes::new(py, text).as_any(),
            Some(c"utf-8"),
            Some(c"surrogateescape"),
        ),
    }
}

/// The strings of one changeset, each made once.
pub struct Names<'a, 'py> {
    py: Python<'py>,
    changeset: &'a Changeset,
    made: Vec<Option<Bound<'py, PyString>>>,
}

impl<'a, 'py> Names<'a, 'py> {
    pub fn new(py: Python<'py>, changeset: &'a Changeset) -> Names<'a, 'py> {
        Names {
            py,
            changeset,
            made: vec![None; changeset.strings.len()],
        }
    }

    pub fn name(&mut self, name: Name) -> PyResult<Bound<'py, PyString>> {
        let made = &mut self.made[name as usize];
        if let Some(text) = made {
            return Ok(text.clone());
        }
        let text = to_str(self.py, self.changeset.text(name))?;
        *made = Some(text.clone());
        Ok(text)
    }

    /// A key as `realmserver.changeset.instructions.Key`.
    pub fn key(&mut self, key: Key) -> PyResult<Bound<'py, PyTuple>> {
        let py = self.py;
        let number = PyInt::new(py, key.type_number());
        match key {
            Key::Null => (number, py.None()).into_pyobject(py),
            Key::Int(value) => (number, value).into_pyobject(py),
            Key::String(name) => (number, self.name(name)?).into_pyobject(py),
            Key::Global(high, low) => (number, (high, low)).into_pyobject(py),
            Key::ObjectId(bytes) => (number, PyBytes::new(py, &bytes)).into_pyobject(py),
            Key::Uuid(bytes) => (number, PyBytes::new(py, &bytes)).into_pyobject(py),
        }
    }
}

/// The place of an instruction in words for a log, as `realmserver.merge.places.describe`.
pub fn describe(
    py: Python<'_>,
    changeset: &Changeset,
    instruction: &Instruction,
) -> PyResult<String> {
    let mut names = Names::new(py, changeset);
    let mut text = quoted(names.name(instruction.table)?.as_any())?;
    if instruction.is_on_object() {
        let value = names.key(changeset.key(instruction))?.get_item(1)?;
        text += &format!("[{}]", quoted(&value)?);
    }
    if instruction.is_on_path() || matches!(instruction.op, ADD_COLUMN | ERASE_COLUMN) {
        text += &format!(".{}", quoted(names.name(instruction.field)?.as_any())?);
    }
    for element in changeset.path(instruction) {
        text += &match *element {
            Element::Index(index) => format!("[{index}]"),
            Element::Name(name) => format!("[{}]", quoted(names.name(name)?.as_any())?),
        };
    }
    Ok(text)
}

fn quoted(value: &Bound<'_, PyAny>) -> PyResult<String> {
    Ok(value.repr()?.to_str()?.to_owned())
}
