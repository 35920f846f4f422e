//! Exit codes of the command line.

use std::ffi::OsStr;
use std::fs;
use std::process::{Command, Output};

use crate::daemon::{BINARY, TestDaemon};

fn run<I: AsRef<OsStr>>(words: &[I]) -> Output {
    Command::new(BINARY).args(words).output().unwrap()
}

#[test]
fn check_accepts_the_config_option_before_and_after_the_command() {
    let daemon = TestDaemon::prepare("");
    let file = daemon.config();
    let file = file.to_str().unwrap();
    for words in [["--config", file, "check"], ["check", "--config", file]] {
        let output = run(&words);
        assert_eq!(output.status.code(), Some(0), "{words:?}: {output:?}");
    }
}

#[test]
fn wrong_settings_exit_with_78() {
    let daemon = TestDaemon::prepare("");
    let file = daemon.folder().join("wrong.toml");
    let name = file.to_str().unwrap();
    for text in [
        "[server\n",
        "[server]\nno_such_key = 1\n",
        "[server]\nlisten = 3\n",
        "[no_such_table]\n",
    ] {
        fs::write(&file, text).unwrap();
        for words in [["--config", name, "check"], ["--config", name, "serve"]] {
            let output = run(&words);
            assert_eq!(output.status.code(), Some(78), "{text:?}: {output:?}");
            assert!(!output.stderr.is_empty(), "{text:?}: nothing on stderr");
        }
    }
    let missing = ["check", "--config", "/no/such/file.toml"];
    assert_eq!(run(&missing).status.code(), Some(78));
}

#[test]
fn a_wrong_command_line_exits_with_64() {
    for words in [&["no-such-command"][..], &["check", "--no-such-option"]] {
        let output = run(words);
        assert_eq!(output.status.code(), Some(64), "{words:?}: {output:?}");
    }
    assert_eq!(run(&["--help"]).status.code(), Some(0));
}
