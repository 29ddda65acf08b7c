//! Kills the gateway after any byte to or from the operator.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    process::Command,
    sync::{Arc, Mutex},
};

use super::*;

/// The last byte that passes the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LastByte {
    ToOperator(usize),
    FromOperator(usize),
}

/// The state of the proxy between the gateway and its operator.
#[derive(Default)]
struct ProxyState {
    last: Option<LastByte>,
    /// The process ID of the gateway.
    gateway: u32,
    to_operator: usize,
    from_operator: usize,
}

/// Starts a TCP proxy that kills the gateway when the last byte has passed.
fn start_proxy(listen: SocketAddr, operator: SocketAddr) -> Arc<Mutex<ProxyState>> {
    let state = Arc::new(Mutex::new(ProxyState::default()));
    let (listener, shared) = (TcpListener::bind(listen).unwrap(), Arc::clone(&state));
    thread::spawn(move || {
        for gateway in listener.incoming() {
            let (gateway, operator) = (gateway.unwrap(), TcpStream::connect(operator).unwrap());
            for to_operator in [true, false] {
                let ends = (gateway.try_clone().unwrap(), operator.try_clone().unwrap());
                let (from, to) = if to_operator { ends } else { (ends.1, ends.0) };
                let state = Arc::clone(&shared);
                thread::spawn(move || forward(from, to, to_operator, &state));
            }
        }
    });
    state
}

fn forward(mut from: TcpStream, mut to: TcpStream, to_operator: bool, state: &Mutex<ProxyState>) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let mut state = state.lock().unwrap();
        let passed = if to_operator { &mut state.to_operator } else { &mut state.from_operator };
        let before = *passed;
        *passed += count;
        let last = match state.last {
            Some(LastByte::ToOperator(last)) if to_operator => Some(last),
            Some(LastByte::FromOperator(last)) if !to_operator => Some(last),
            _ => None,
        };
        match last.filter(|last| (before..before + count).contains(last)) {
            Some(last) => {
                // The other side may have closed the connection.
                let _ = to.write_all(&buffer[..last - before]);
                let gateway = state.gateway.to_string();
                assert!(Command::new("kill").args(["-9", &gateway]).status().unwrap().success());
                let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
                state.last = None;
                return;
            }
            None if to.write_all(&buffer[..count]).is_err() => return,
            None => {}
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

#[test]
fn kill_after_any_byte_loses_no_session_and_books_none_twice() {
    const PROXY_PORT: u16 = 9300;

    let mut scene = CrashFixture::new(&[DIALECT]);
    let operator = scene.world.operator_address(DIALECT);
    let state = start_proxy(scene.world.at(PROXY_PORT), operator);
    // Route the gateway to the operator through the proxy.
    let path = scene.world.folder.join("operators.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    let proxied = text.replace(&format!(":{}/", operator.port()), &format!(":{PROXY_PORT}/"));
    assert_ne!(text, proxied);
    std::fs::write(&path, proxied).unwrap();

    let mut responses = ClientResponses::default();
    assert!(scene.start(""));
    scene.run_session_lifecycle(&mut responses, 0);
    let (to_operator, from_operator) = {
        let state = state.lock().unwrap();
        (state.to_operator, state.from_operator)
    };
    assert!(to_operator > 500 && from_operator > 500);
    let last_bytes = (0..to_operator).step_by(31).map(LastByte::ToOperator);
    let last_bytes = last_bytes.chain((0..from_operator).step_by(29).map(LastByte::FromOperator));
    let mut deaths = 0;
    for (number, last) in (1..).zip(last_bytes) {
        assert!(scene.start(""));
        let gateway = scene.gateway.as_ref().unwrap().id();
        // The byte counts differ slightly for numbers of another length, which is harmless.
        *state.lock().unwrap() = ProxyState { last: Some(last), gateway, ..ProxyState::default() };
        deaths += u32::from(scene.run_session_lifecycle(&mut responses, number));
        state.lock().unwrap().last = None;
    }
    assert!(deaths >= 60, "the gateway died only {deaths} times");
    scene.recover();
    assert_eq!(scene.inconsistencies(&mut responses), Vec::<String>::new());
}
