//! Killed after any byte to or from the operator.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    process::Command,
    sync::{Arc, Mutex},
};

use super::*;

/// Which byte is the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    ToOperator(usize),
    FromOperator(usize),
}

/// What a wire between the gateway and its operator does.
#[derive(Default)]
struct Plan {
    last: Option<Last>,
    gateway: u32,
    to_operator: usize,
    from_operator: usize,
}

/// A wire that kills the gateway when the last byte has passed.
fn wire(listen: SocketAddr, operator: SocketAddr) -> Arc<Mutex<Plan>> {
    let plan = Arc::new(Mutex::new(Plan::default()));
    let (listener, shared) = (TcpListener::bind(listen).unwrap(), Arc::clone(&plan));
    thread::spawn(move || {
        for gateway in listener.incoming() {
            let (gateway, operator) = (gateway.unwrap(), TcpStream::connect(operator).unwrap());
            for to_operator in [true, false] {
                let ends = (gateway.try_clone().unwrap(), operator.try_clone().unwrap());
                let (from, to) = if to_operator { ends } else { (ends.1, ends.0) };
                let plan = Arc::clone(&shared);
                thread::spawn(move || pass(from, to, to_operator, &plan));
            }
        }
    });
    plan
}

fn pass(mut from: TcpStream, mut to: TcpStream, to_operator: bool, plan: &Mutex<Plan>) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let mut plan = plan.lock().unwrap();
        let passed = if to_operator { &mut plan.to_operator } else { &mut plan.from_operator };
        let before = *passed;
        *passed += count;
        let last = match plan.last {
            Some(Last::ToOperator(last)) if to_operator => Some(last),
            Some(Last::FromOperator(last)) if !to_operator => Some(last),
            _ => None,
        };
        match last.filter(|last| (before..before + count).contains(last)) {
            Some(last) => {
                // The other side may be gone.
                let _ = to.write_all(&buffer[..last - before]);
                let gateway = plan.gateway.to_string();
                assert!(Command::new("kill").args(["-9", &gateway]).status().unwrap().success());
                let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
                plan.last = None;
                return;
            }
            None if to.write_all(&buffer[..count]).is_err() => return,
            None => {}
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

#[test]
fn a_kill_after_any_byte_loses_nothing_and_books_nothing_twice() {
    const WIRE_PORT: u16 = 9300;

    let mut scene = Scene::new(&Setup::default());
    let operator = scene.world.operator_of(DIALECT);
    let plan = wire(scene.world.at(WIRE_PORT), operator);
    // The operator is reached through the wire only.
    let policy = scene.world.folder.join("operators.yaml");
    let text = std::fs::read_to_string(&policy).unwrap();
    let wired = text.replace(&format!(":{}/", operator.port()), &format!(":{WIRE_PORT}/"));
    assert_ne!(text, wired);
    std::fs::write(&policy, wired).unwrap();

    let mut told = Told::default();
    assert!(scene.start(""));
    scene.live(&mut told, 0);
    let (to_operator, from_operator) = {
        let plan = plan.lock().unwrap();
        (plan.to_operator, plan.from_operator)
    };
    assert!(to_operator > 500 && from_operator > 500);
    let lasts = (0..to_operator).step_by(31).map(Last::ToOperator);
    let lasts = lasts.chain((0..from_operator).step_by(29).map(Last::FromOperator));
    let mut deaths = 0;
    for (number, last) in (1..).zip(lasts) {
        assert!(scene.start(""));
        let gateway = scene.gateway.as_ref().unwrap().id();
        // Numbers of other lengths would change the count a little, which does no harm.
        *plan.lock().unwrap() = Plan { last: Some(last), gateway, ..Plan::default() };
        deaths += u32::from(scene.live(&mut told, number));
        plan.lock().unwrap().last = None;
    }
    assert!(deaths >= 60, "the gateway died {deaths} times only");
    scene.settle();
    assert_eq!(scene.disagreements(&mut told), Vec::<String>::new());
}
