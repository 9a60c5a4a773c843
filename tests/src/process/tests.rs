use super::*;
use crate::scratch::Scratch;

const SOON: Duration = Duration::from_secs(10);

fn shell(scratch: &Scratch, script: &str) -> Process {
    Launch::new("sh", "/bin/sh", scratch.path()).args(["-c", script]).start().unwrap()
}

fn exists(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn a_line_is_waited_for_and_memory_is_read() {
    let scratch = Scratch::create("line").unwrap();
    let mut process = shell(&scratch, "echo ready: yes; exec sleep 60");
    assert_eq!(process.wait_for_line("ready: ", SOON).unwrap(), "yes");
    let memory = process.memory().unwrap();
    assert!(memory.resident_kib > 0 && memory.peak_kib >= memory.resident_kib, "{memory:?}");
}

#[test]
fn an_end_before_the_line_shows_the_log() {
    let scratch = Scratch::create("end").unwrap();
    let mut process = shell(&scratch, "echo no such file; exit 3");
    let error = process.wait_for_line("ready", SOON).unwrap_err().to_string();
    assert!(error.contains("no such file") && error.contains('3'), "{error}");
}

#[test]
fn a_dropped_process_is_gone() {
    let scratch = Scratch::create("drop").unwrap();
    let process = shell(&scratch, "exec sleep 60");
    let pid = process.id();
    assert!(exists(pid));
    drop(process);
    assert!(!exists(pid));
}

#[test]
fn a_process_that_ignores_term_is_killed_and_named() {
    let scratch = Scratch::create("term").unwrap();
    let mut process = shell(&scratch, "trap '' TERM; echo up; while :; do sleep 0.1; done");
    process.wait_for_line("up", SOON).unwrap();
    let error = process.stop(Duration::from_millis(300)).unwrap_err().to_string();
    assert!(error.contains("still runs"), "{error}");
    assert!(!process.is_running());
}

#[test]
fn a_child_outlives_the_thread_that_asked_for_it() {
    let scratch = Scratch::create("thread").unwrap();
    let mut process = thread::scope(|scope| scope.spawn(|| shell(&scratch, "exec sleep 60")).join().unwrap());
    assert!(process.wait(Duration::from_millis(300)).is_err(), "killed with the thread that started it");
}

#[test]
fn the_log_of_a_second_start_does_not_show_the_first() {
    let scratch = Scratch::create("again").unwrap();
    let launch = Launch::new("sh", "/bin/sh", scratch.path()).args(["-c", "echo pid: $$"]);
    let first = launch.start().unwrap().wait_for_line("pid: ", SOON).unwrap();
    let second = launch.start().unwrap().wait_for_line("pid: ", SOON).unwrap();
    assert_ne!(first, second);
}
