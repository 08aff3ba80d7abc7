//! What a merge ends with when the two sides do not fit together.
//!
//! The truth is `realmserver/merge/errors.py`; the texts are those of the Python modules that raise them.

/// What a rule finds wrong, and whether with its first operand or with its second.
pub struct Fault {
    pub what: &'static str,
    pub first: bool,
}

pub type Judged = Result<(), Fault>;

/// Where an instruction stands: in which changeset of which side.
#[derive(Clone, Copy)]
pub struct Place {
    pub incoming: bool,
    pub side: usize,
    pub at: u32,
}

pub enum MergeError {
    /// The text goes on with the place in words.
    Transform { what: &'static str, place: Place },
    /// The budget is spent.
    TooLarge,
}

pub const TOO_LARGE: &str = "too many edits of the same places on both sides to be merged";
