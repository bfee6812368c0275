//! What the tests of `o3r-deploy` share. It is no part of the program: the root package has it as a dev-dependency.

pub mod vpu;
