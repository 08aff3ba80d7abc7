//! When other threads of Python may run: during long work. Short work is over sooner than they could begin.

use pyo3::marker::Ungil;
use pyo3::prelude::*;

/// Bytes from which on work on a changeset is long.
pub const LONG: usize = 64 * 1024;

/// Instructions from which on a merge is long.
pub const MANY: usize = 4096;

/// Do what needs no Python; others may run meanwhile if it is long.
pub fn work<T: Ungil>(py: Python<'_>, is_long: bool, work: impl FnOnce() -> T + Ungil) -> T {
    if is_long {
        py.detach(work)
    } else {
        work()
    }
}
