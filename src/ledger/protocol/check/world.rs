//! All that there is at one instant: the ledger, the operator, what is under way between them, and
//! what each process remembers.

use super::super::{State, Told};

/// Which booking, and which gateway: each gateway makes the booking of its own side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Side {
    One,
    Two,
}

/// Who takes a step, and can be killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Process {
    Gateway(Side),
    Reconciler,
}

/// How much time has gone by since a flow was reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Age {
    /// The call's deadline is to come.
    Calling,
    /// The deadline is over; the operator may still carry out what was sent before.
    Late,
    /// The grace is over: nothing of the call reaches the operator any more.
    Settled,
    /// The longest life of a session made by the call is over.
    Over,
    /// The longest life of a session that was extended is over too.
    LongOver,
}

/// When a life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum End {
    Granted,
    Extended,
}

/// What the ledger has durably.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Record {
    pub(super) state: State,
    /// A hold once given up never comes back.
    pub(super) holds: bool,
    pub(super) end: End,
    pub(super) extending: bool,
}

/// What the operator has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Session {
    Never,
    Kept {
        status: Told,
        end: End,
    },
    /// It ended by itself, and the operator has forgotten it.
    Over,
    /// It was deleted while it was live.
    Deleted,
}

/// One request and its answer, under way. Nothing on it is ever there twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Wire {
    Quiet,
    Request {
        in_time: bool,
    },
    /// It was done. The answer tells how the session stands when it is heard.
    Done,
    Refused,
}

/// A booking is extended once at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Extension {
    Never,
    /// Its deadline and grace are to come.
    Open(Wire),
    Closed(Wire),
}

/// What the client of a booking knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Client {
    HasNotAsked,
    Waits,
    WasToldCreated,
    /// It wanted the session deleted, or the session ended by itself.
    IsDone,
}

/// All that concerns one booking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Booking {
    pub(super) client: Client,
    pub(super) age: Age,
    pub(super) record: Option<Record>,
    pub(super) session: Session,
    pub(super) call: Wire,
    pub(super) extension: Extension,
    /// Is a delete on its way to the operator that no record knows of? Of others it does not
    /// matter which process sent them, nor whether it is alive still.
    pub(super) stray_delete: bool,
    /// Is the operator about to notify?
    pub(super) notice: bool,
}

/// A record as some process has read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Known {
    pub(super) of: Side,
    pub(super) record: Record,
    /// Is its generation still the ledger's? Generations are only ever compared for being equal.
    pub(super) newest: bool,
}

/// What a process is at, all of it lost when it is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Task {
    Idle,
    /// Its flow is held; the operator is yet to be asked.
    Reserved(Known),
    Asked(Known),
    Granted(Known, Told),
    Refused(Known),
    /// It has put the booking in doubt, and listens still.
    GaveUp,
    /// The session is written down; the client is yet to be told.
    Confirmed,
    Extending(Known),
    ExtensionAsked(Known),
    ExtensionGranted(Known, Told),
    ExtensionRefused(Known),
    /// It has looked at a session at the operator. `judged`: was no extension under way then?
    Looked {
        known: Known,
        status: Told,
        end: End,
        judged: bool,
    },
    /// It has looked the booking up, and the operator has a session of it.
    Found(Known),
    /// It has looked the booking up, and the operator has none, for sure.
    Missed(Known),
    Deleting(Known),
}

/// All that there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct World {
    bookings: [Booking; 2],
    gateways: [Task; 2],
    reconciler: Task,
}

impl Side {
    pub(super) const BOTH: [Self; 2] = [Self::One, Self::Two];

    pub(super) const fn other(self) -> Self {
        match self {
            Self::One => Self::Two,
            Self::Two => Self::One,
        }
    }
}

impl Process {
    pub(super) const ALL: [Self; 3] =
        [Self::Gateway(Side::One), Self::Gateway(Side::Two), Self::Reconciler];
}

impl Session {
    pub(super) const fn live(self) -> bool {
        matches!(self, Self::Kept { status: Told::Requested | Told::Available, .. })
    }

    /// May another session of the flow not be made? What its network ended is not live, but is on
    /// the operator's books until it is deleted.
    pub(super) const fn occupies(self) -> bool {
        self.live() || matches!(self, Self::Kept { status: Told::Terminated, .. })
    }

    pub(super) const fn kept(self) -> bool {
        matches!(self, Self::Kept { .. })
    }

    pub(super) const fn delete(&mut self) {
        *self = if self.live() { Self::Deleted } else { Self::Over };
    }

    const fn ended_by_itself(self) -> bool {
        matches!(self, Self::Over) || (self.kept() && !self.live())
    }
}

impl End {
    pub(super) fn is_over(self, age: Age) -> bool {
        match self {
            Self::Granted => age >= Age::Over,
            Self::Extended => age >= Age::LongOver,
        }
    }
}

impl Record {
    pub(super) const RESERVED: Self = Self {
        state: State::Pending,
        holds: State::Pending.holds(),
        end: End::Granted,
        extending: false,
    };
}

impl Extension {
    pub(super) const fn wire(self) -> Wire {
        match self {
            Self::Never => Wire::Quiet,
            Self::Open(wire) | Self::Closed(wire) => wire,
        }
    }

    pub(super) const fn with(self, wire: Wire) -> Self {
        match self {
            Self::Never | Self::Open(_) => Self::Open(wire),
            Self::Closed(_) => Self::Closed(wire),
        }
    }
}

impl Booking {
    pub(super) const NEW: Self = Self {
        client: Client::HasNotAsked,
        age: Age::Calling,
        record: None,
        session: Session::Never,
        call: Wire::Quiet,
        extension: Extension::Never,
        stray_delete: false,
        notice: false,
    };

    // Nothing can come of it any more, whatever it was.
    pub(super) const CLOSED: Self =
        Self { client: Client::IsDone, age: Age::LongOver, ..Self::NEW };

    /// Does the ledger show it to its client?
    pub(super) fn visible(&self) -> bool {
        self.state().is_some_and(|state| matches!(state, State::Requested | State::Available))
    }

    pub(super) fn state(&self) -> Option<State> {
        self.record.map(|record| record.state)
    }

    fn drop_what_nobody_minds(&mut self, own: Task, extension_asked: bool) {
        let answered = |wire| matches!(wire, Wire::Done | Wire::Refused);
        if answered(self.call) && !own.listens() {
            self.call = Wire::Quiet;
        }
        if answered(self.extension.wire()) && !extension_asked {
            self.extension = self.extension.with(Wire::Quiet);
        }
        if self.session.ended_by_itself() || (self.client == Client::Waits && !own.may_tell()) {
            self.client = Client::IsDone;
        }
        self.stray_delete &= self.session.live();
        let held = self.record.is_some_and(|record| record.holds);
        if !held && self.session.ended_by_itself() && !self.session.occupies() {
            self.session = Session::Over;
            self.notice = false;
        }
        let asked = matches!(self.call, Wire::Request { .. }) || matches!(own, Task::Reserved(_));
        let in_question =
            self.state().is_none_or(|state| matches!(state, State::Pending | State::InDoubt));
        if !asked && !in_question {
            self.age = self.age.max(Age::Settled);
        }
    }

    fn may_be_closed(&self) -> bool {
        self.client == Client::IsDone
            && self.record.is_none()
            && !self.session.kept()
            && self.call == Wire::Quiet
            && self.extension.wire() == Wire::Quiet
            && !self.notice
    }
}

impl Task {
    const fn listens(self) -> bool {
        matches!(self, Self::Asked(_) | Self::GaveUp)
    }

    const fn may_tell(self) -> bool {
        matches!(self, Self::Reserved(_) | Self::Asked(_) | Self::Granted(..) | Self::Confirmed)
    }

    pub(super) fn known_mut(&mut self) -> Option<&mut Known> {
        match self {
            Self::Idle | Self::GaveUp | Self::Confirmed => None,
            Self::Reserved(known)
            | Self::Asked(known)
            | Self::Granted(known, _)
            | Self::Refused(known)
            | Self::Extending(known)
            | Self::ExtensionAsked(known)
            | Self::ExtensionGranted(known, _)
            | Self::ExtensionRefused(known)
            | Self::Looked { known, .. }
            | Self::Found(known)
            | Self::Missed(known)
            | Self::Deleting(known) => Some(known),
        }
    }
}

impl World {
    pub(super) const START: Self =
        Self { bookings: [Booking::NEW; 2], gateways: [Task::Idle; 2], reconciler: Task::Idle };

    pub(super) fn booking(&self, side: Side) -> &Booking {
        &self.bookings[side as usize]
    }

    pub(super) fn booking_mut(&mut self, side: Side) -> &mut Booking {
        &mut self.bookings[side as usize]
    }

    pub(super) fn task(&self, of: Process) -> Task {
        match of {
            Process::Gateway(side) => self.gateways[side as usize],
            Process::Reconciler => self.reconciler,
        }
    }

    pub(super) fn task_mut(&mut self, of: Process) -> &mut Task {
        match of {
            Process::Gateway(side) => &mut self.gateways[side as usize],
            Process::Reconciler => &mut self.reconciler,
        }
    }

    pub(super) fn known_mut(&mut self, of: Side) -> impl Iterator<Item = &mut Known> {
        let tasks = self.gateways.iter_mut().chain([&mut self.reconciler]);
        tasks.filter_map(Task::known_mut).filter(move |known| known.of == of)
    }

    /// Worlds that differ only in what can never matter again become the same.
    pub(super) fn settle(&mut self) {
        for side in Side::BOTH {
            let own = self.gateways[side as usize];
            let extension_asked = self
                .gateways
                .iter()
                .any(|task| matches!(task, Task::ExtensionAsked(known) if known.of == side));
            let at_it = matches!(own, Task::GaveUp | Task::Confirmed)
                || self.known_mut(side).next().is_some();
            let booking = &mut self.bookings[side as usize];
            if booking.client == Client::HasNotAsked {
                continue;
            }
            booking.drop_what_nobody_minds(own, extension_asked);
            if !at_it && booking.may_be_closed() {
                *booking = Booking::CLOSED;
            }
        }
    }
}
