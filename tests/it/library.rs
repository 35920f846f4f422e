//! The daemon as a library: build, start, wait until ready, stop and join.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use perennial::settings::{AdminListen, ResourceSettings, Settings};
use perennial::{BuildError, Phase, SocketError, System};
use serde_json::json;
use tempfile::TempDir;

use crate::client;

const TIMEOUT: Duration = Duration::from_secs(10);

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
fn a_system_runs_step_by_step_and_its_records_survive_it() {
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
        built_in.text().contains("Perennial is running"),
        "the built-in page, because ./public does not exist"
    );
    let stopper = system.stopper();
    std::thread::spawn(move || stopper.stop()).join().unwrap();
    system.join().unwrap();
    // A process that another test is just starting holds copies of our sockets until its exec.
    let until = Instant::now() + TIMEOUT;
    while TcpStream::connect(addresses[0]).is_ok() {
        assert!(
            Instant::now() < until,
            "the socket still accepts connections"
        );
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
fn a_client_that_connects_before_the_start_is_served_after_it() {
    let folder = TempDir::new().unwrap();
    let mut system = System::build(settings(&folder)).unwrap();
    let mut early = client::Client::connect(system.bound().public[0]).unwrap();
    system.start().unwrap();
    early.get("/pens").unwrap().expect(200);
    system.stop();
    system.join().unwrap();
}

#[test]
fn a_taken_address_is_a_typed_error() {
    let folder = TempDir::new().unwrap();
    let first = System::build(settings(&folder)).unwrap();
    let mut taken = settings(&folder);
    taken.server.admin = first.bound().admin.clone();
    let Err(BuildError::Sockets(errors)) = System::build(taken) else {
        panic!("the address is taken");
    };
    let AdminListen::Tcp(admin) = first.bound().admin else {
        panic!("it has an address");
    };
    assert!(
        matches!(&errors[..], [SocketError::Bind { address, .. }] if *address == admin),
        "{errors:?}"
    );
}

#[test]
fn a_system_stopped_before_its_start_ends_at_once() {
    let folder = TempDir::new().unwrap();
    let mut system = System::build(settings(&folder)).unwrap();
    system.stop();
    system.start().unwrap();
    system.join().unwrap();
}
