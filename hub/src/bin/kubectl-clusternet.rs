use clap::Parser;

/// Tokens are gone from memory once they are freed.
#[global_allocator]
static MEMORY: at_rest::Wiping = at_rest::Wiping;

fn main() -> std::process::ExitCode {
    hub::cli::plugin::main(&hub::cli::plugin::Flags::parse())
}
