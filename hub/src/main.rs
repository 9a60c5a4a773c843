use clap::Parser;

fn main() -> std::process::ExitCode {
    hub::app::main(&hub::config::Flags::parse())
}
