//! The `mooring` binary: everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    mooring::main()
}
