//! Parses the command line, sets up tracing and maps the outcome to an exit code.

fn main() {
    // Commands arrive with the modules they stand on.
}
