use clap::Parser;

fn main() -> std::process::ExitCode {
    edge_agent::app::main(&edge_agent::config::Flags::parse())
}
