//! `make demo`: real programs talk to one another, and what they say is shown to be sealed.

fn main() {}
