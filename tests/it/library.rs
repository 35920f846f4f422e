//! The daemon inside another program: built, started, awaited, stopped and joined step by step.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use perennial::settings::{ResourceSettings, Settings};
use perennial::{BuildError, Ended, Phase, System};
use serde_json::json;
use tempfile::TempDir;

use crate::client;

const PATIENCE: Duration = Duration::from_secs(10);

fn settings(folder: &TempDir) -> Settings {
    let mut settings = Settings::default();
    settings.server.listen = vec![
        "127.0.0.1:0".parse().unwrap(),
        "127.0.0.1:0".parse().unwrap(),
    ];
    settings.server.admin = "127.0.0.1:0".parse().unwrap();
    settings.server.data = folder.path().join("data");
    let pens = ResourceSettings::at("/pens");
    settings.resources.insert("pens".to_owned(), pens);
    settings
}

#[test]
fn a_system_is_driven_step_by_step_and_its_records_outlive_it() {
    let folder = TempDir::new().unwrap();
    let mut system = System::build(settings(&folder)).unwrap();
    assert_eq!(system.phase(), Phase::Built);
    system.start().unwrap();
    system.ready().unwrap();
    assert_eq!(system.phase(), Phase::Ready);
    assert!(system.tree().view().running());
    let addresses = system.bound().public.clone();
    client::post(addresses[0], "/pens", &json!({"colour": "green"})).expect(201);
    let built_in = client::get(addresses[1], "/").expect(200);
    assert!(
        built_in.text().contains("It grows back"),
        "where no root exists"
    );
    let stopper = system.stopper();
    std::thread::spawn(move || stopper.stop()).join().unwrap();
    system.join().unwrap();
    // A process that another test starts at this moment has copies of our sockets until it runs its own program.
    let until = Instant::now() + PATIENCE;
    while TcpStream::connect(addresses[0]).is_ok() {
        assert!(Instant::now() < until, "the door is open");
    }

    let mut again = System::build(settings(&folder)).unwrap();
    again.start().unwrap();
    again.ready().unwrap();
    let pens = client::get(again.bound().public[0], "/pens")
        .expect(200)
        .json();
    assert_eq!(pens[0]["colour"], "green");
    drop(again);
}

#[test]
fn a_client_may_connect_before_anything_runs_and_is_served_later() {
    let folder = TempDir::new().unwrap();
    let mut system = System::build(settings(&folder)).unwrap();
    let mut early = client::Client::connect(system.bound().public[0]).unwrap();
    system.start().unwrap();
    early.get("/pens").unwrap().expect(200);
    system.stop();
    system.join().unwrap();
}

#[test]
fn what_cannot_be_is_a_typed_error() {
    let folder = TempDir::new().unwrap();
    let first = System::build(settings(&folder)).unwrap();
    let mut taken = settings(&folder);
    taken.server.admin = first.bound().admin;
    assert!(
        matches!(System::build(taken), Err(BuildError::Bind(error)) if error.address == first.bound().admin)
    );

    let mut refused = settings(&folder);
    let file = folder.path().join("a file");
    std::fs::write(&file, "in the way").unwrap();
    refused.server.data = file.join("data");
    let mut system = System::build(refused).unwrap();
    system.start().unwrap();
    let error = system.ready().unwrap_err();
    assert!(
        matches!(&error, Ended::DataRefused { text, .. } if text.contains("a file")),
        "{error:?}"
    );
    assert_eq!(system.join(), Err(error));
}

#[test]
fn a_stop_before_the_start_is_a_stop() {
    let folder = TempDir::new().unwrap();
    let mut system = System::build(settings(&folder)).unwrap();
    system.stop();
    system.start().unwrap();
    system.join().unwrap();
}
