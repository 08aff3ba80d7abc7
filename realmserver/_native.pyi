"""What the core in Rust has for Python (``native/src/lib.rs``); it is there where ``realmserver._build`` says so."""
