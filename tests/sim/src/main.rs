//! `sim --seed N [--trace]`, `sim --seeds A..B`, `sim --bug NAME|all`.

use std::process::ExitCode;

use bus_schema::planted::Bug;
use sim::run::{Setup, run, sweep};

const USAGE: &str =
    "usage: sim [--seed N | --seeds A..B | --bug NAME|all [--seeds A..B]] [--steps 200] [--agents 3] [--jobs 2] [--calm] [--trace]";

struct Options {
    seeds: std::ops::Range<u64>,
    one: bool,
    jobs: usize,
    bugs: Vec<Bug>,
    setup: Setup,
}

fn main() -> ExitCode {
    match options(std::env::args().skip(1)) {
        Ok(options) if options.one => replay(&options),
        Ok(options) if !options.bugs.is_empty() => hunt(&options),
        Ok(options) => survey(&options),
        Err(problem) => {
            eprintln!("{problem}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn options(mut args: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options { seeds: 0..1_000, one: false, jobs: 2, bugs: Vec::new(), setup: Setup::default() };
    while let Some(flag) = args.next() {
        let mut value = || args.next().ok_or(format!("{flag} needs a value"));
        match flag.as_str() {
            "--seed" => {
                let seed = number(&value()?)?;
                (options.seeds, options.one) = (seed..seed + 1, true);
            }
            "--seeds" => options.seeds = range(&value()?)?,
            "--steps" => options.setup.steps = number(&value()?)? as u32,
            "--agents" => options.setup.edges = number(&value()?)? as usize,
            "--jobs" => options.jobs = number(&value()?)? as usize,
            "--bug" => options.bugs = bugs(&value()?)?,
            "--trace" => options.setup.traced = true,
            "--calm" => options.setup.calm = true,
            other => return Err(format!("{other} is not known")),
        }
    }
    if options.one {
        options.setup.bug = options.bugs.first().copied();
    }
    Ok(options)
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("{text} is no number"))
}

fn range(text: &str) -> Result<std::ops::Range<u64>, String> {
    let (start, end) = text.split_once("..").ok_or(format!("{text} is no range like 0..1000"))?;
    Ok(number(start)?..number(end)?)
}

fn bugs(name: &str) -> Result<Vec<Bug>, String> {
    let found: Vec<Bug> = Bug::ALL.into_iter().filter(|bug| name == "all" || format!("{bug:?}") == name).collect();
    match found.is_empty() {
        true => Err(format!("{name} is none of {:?}", Bug::ALL)),
        false => Ok(found),
    }
}

/// One seed, with its trace.
fn replay(options: &Options) -> ExitCode {
    let report = run(options.seeds.start, options.setup);
    report.log.iter().for_each(|line| println!("{line}"));
    match report.failure {
        Some(failure) => {
            println!("seed {}: {failure}", report.seed);
            ExitCode::FAILURE
        }
        None => {
            println!("seed {} converges\n{}", report.seed, report.counts);
            ExitCode::SUCCESS
        }
    }
}

/// Many seeds, none of which may fail, with every kind of fault at least once.
fn survey(options: &Options) -> ExitCode {
    let (counts, failed) = sweep(options.seeds.clone(), options.jobs, options.setup);
    print!("{counts}");
    if let Some(report) = failed {
        println!("{}", complaint(&report, options));
        return ExitCode::FAILURE;
    }
    let zeros = counts.zeros();
    if !zeros.is_empty() && !options.setup.calm {
        println!("never happened, so nothing is shown: {zeros:?}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Each planted bug must be found.
fn hunt(options: &Options) -> ExitCode {
    let mut missed = 0;
    for bug in &options.bugs {
        let setup = Setup { bug: Some(*bug), ..options.setup };
        match sweep(options.seeds.clone(), options.jobs, setup).1 {
            Some(report) => println!(
                "{bug:?} is found by seed {}: {}",
                report.seed,
                report.failure.unwrap_or_default().chars().take(200).collect::<String>()
            ),
            None => {
                println!("{bug:?} is not found by seeds {:?}", options.seeds);
                missed += 1;
            }
        }
    }
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn complaint(report: &sim::run::Report, options: &Options) -> String {
    let failure = report.failure.as_deref().unwrap_or_default();
    let Setup { steps, edges, calm, .. } = options.setup;
    let calm = if calm { " --calm" } else { "" };
    format!("seed {} fails: {failure}\nreplay with: sim --seed {} --steps {steps} --agents {edges}{calm} --trace", report.seed, report.seed)
}
