//! The `refrain` command.

fn main() -> std::process::ExitCode {
    refrain::cli::run()
}
