use clap::Parser;

/// Payloads and tokens are gone from memory once they are freed.
#[global_allocator]
static MEMORY: at_rest::Wiping = at_rest::Wiping;

fn main() -> std::process::ExitCode {
    edge_agent::app::main(&edge_agent::config::Flags::parse())
}
