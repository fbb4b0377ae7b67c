//! Carries out what machines and hot paths put out, and hands them what arrives.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use starling_core::conduct::Offence;
use starling_core::hash::hash_id;
use starling_core::hot::copies;
use starling_core::hot::own::Publication;
use starling_core::hot::plane::Host;
use starling_core::hot::view::View;
use starling_core::hot::{Lane, Plane, Report};
use starling_core::identity::Roles;
use starling_core::limits;
use starling_core::machine::{Input, LinkSlot, Output};
use starling_core::membership::detector::Statement;
use starling_core::time::Time;
use starling_core::wire::bundle::{Bundle, Class};
use starling_core::wire::codec::{Reader, Wire};
use starling_core::wire::frame::{FRAME_HEADER_BYTES, FrameDecoder, FrameType, Parcel};
use starling_core::wire::message::ControlBody;

use crate::link::{Frame, PACKET_OVERHEAD_BYTES, Sent};
use crate::mail::{CLIENTS, Mail};
use crate::meter::{Passing, name_of};
use crate::outlet::Effect;
use crate::trace::Mark;
use crate::world::{Transit, World, end_of};

impl World {
    pub(crate) fn carry_out(&mut self, from: usize, output: Output) {
        if let Some(output) = self.bugged_output(from, output) {
            self.carry_out_as_it_is(from, output);
        }
    }

    /// Without a planted bug in between.
    pub(crate) fn carry_out_as_it_is(&mut self, from: usize, output: Output) {
        self.trace_output(from, &output);
        let now = self.now_at(from);
        let Some(plane) = self.nodes[from].plane.clone() else { return };
        let keeps = self.keeps_events;
        let record = &mut self.nodes[from].record;
        match output {
            Output::Dial { address } => self.dial(from, address),
            Output::HangUp { link, .. } => self.hang_up(link),
            Output::Control { link, body } => {
                self.note_statements(from, &body);
                self.send_control(&[link], body);
            }
            Output::ControlToAll { links, body } => {
                self.note_statements(from, &body);
                self.send_control(&links, body);
            }
            Output::Probe { link, body } => self.send_probe(link, body),
            Output::State { links, bundle } => {
                self.measure_state(from, &bundle);
                plane.send_state(&bundle, links, &mut self.touched);
            }
            Output::Reply { connection, id, say } if connection.0 >= CLIENTS && connection.0 < u32::MAX => {
                self.mail.push((from, Mail::Reply(connection, id, Box::new(say))));
            }
            Output::Reply { connection, id, say } => record.replies.push((connection, id, say)),
            Output::Broadcast { connection, agents, index, .. } if keeps => {
                record.broadcasts.push((index, connection, agents));
            }
            Output::Broadcast { .. } => {}
            Output::View(view) => {
                plane.set_view(View::clone(&view));
                record.view = Some(view);
            }
            Output::Host { agent, connection, index } => plane.host(agent, Host { connection, index }),
            Output::Unhost { agent, connection, index } => plane.unhost(agent, Host { connection, index }),
            Output::Home { agent, home } => plane.set_home(agent, home),
            Output::Admit(publications) => {
                if keeps {
                    record.admitted.extend(publications.iter().cloned());
                }
                plane.admit(now, publications, &mut self.touched);
            }
            Output::Undeliverable(publications) if keeps => record.undeliverable.extend(publications),
            Output::Undeliverable(_) => {}
            Output::Resend(to) => {
                if keeps {
                    record.resent.push(to);
                }
                plane.resend(now, to, &mut self.touched);
            }
            Output::Forget(to) => {
                if keeps {
                    record.forgotten.push(to);
                }
                plane.forget(now, to, &mut self.touched);
            }
            Output::Event(event) => {
                if keeps {
                    record.events.push(event.clone());
                }
                self.mail.push((from, Mail::Event(event)));
            }
            Output::Propose(entry) => self.commit(entry),
            // Links of the simulator have no certificates.
            Output::Granted(_) | Output::Stopped => {}
        }
        self.flush(from);
    }

    /// Hands the hot path of a running node entries of its agents.
    pub fn publish(&mut self, at: usize, publications: Vec<Publication>) {
        let Some(plane) = self.nodes[at].plane.clone() else { return };
        plane.admit(self.now_at(at), publications, &mut self.touched);
        self.flush(at);
        self.settle(at);
    }

    /// Returns what the machine is to be told.
    pub(crate) fn carry_out_effect(&mut self, from: usize, effect: Effect) -> Option<Input> {
        let effect = self.bugged_effect(from, effect)?;
        self.carry_out_effect_as_it_is(from, effect)
    }

    /// Without a planted bug in between.
    pub(crate) fn carry_out_effect_as_it_is(&mut self, from: usize, effect: Effect) -> Option<Input> {
        match effect {
            Effect::Bundle { link, priority, parcel } => {
                self.send_frame(link, if priority { Lane::Priority } else { Lane::Bulk }, parcel);
            }
            Effect::Control { link, parcel } => self.send_frame(link, Lane::Control, parcel),
            Effect::Deliver { connection, parcel } | Effect::Tell { connection, parcel } => {
                let frame = flat(parcel);
                let content = hash_id(&frame) ^ u64::from(connection.0);
                self.trace.note(self.now, from, Mark::Client, content);
                if connection.0 >= CLIENTS {
                    self.mail.push((from, Mail::Frame(connection, frame)));
                } else if self.keeps_events {
                    self.nodes[from].record.frames.push((connection, frame));
                }
            }
            Effect::State { from: link, bundle } => {
                if let Some(meter) = &mut self.meter {
                    meter.state_came(self.now, from, name_of(&bundle));
                }
                return Some(Input::State { link, bundle });
            }
            Effect::Unresolved(publications) => return Some(Input::Unresolved(publications)),
            Effect::Report(report) => return Some(Input::Reported(report)),
        }
        None
    }

    pub(crate) fn send_control(&mut self, links: &[LinkSlot], body: ControlBody) {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        body.encode(&mut scratch);
        let bytes = scratch.len();
        assert!(bytes <= limits::CONTROL_BYTES_MAX, "a control frame of {bytes} bytes is refused");
        let encoded = self.wire.then(|| Bytes::copy_from_slice(&scratch));
        let content = hash_id(&scratch);
        self.scratch = scratch;
        if let Some((last, others)) = links.split_last() {
            for link in others {
                let frame = Frame::Control(body.clone(), encoded.clone());
                self.send(*link, Sent { lane: Lane::Control, frame, bytes, content });
            }
            let frame = Frame::Control(body, encoded);
            self.send(*last, Sent { lane: Lane::Control, frame, bytes, content });
        }
    }

    /// A probe is a datagram: it is lost, repeated and overtaken as the network does it.
    fn send_probe(&mut self, link: LinkSlot, body: Bytes) {
        let (content, bytes) = (hash_id(&body), body.len());
        self.send(link, Sent { lane: Lane::Control, frame: Frame::Probe(body), bytes, content });
    }

    pub(crate) fn send_frame(&mut self, link: LinkSlot, lane: Lane, parcel: Parcel) {
        let whole = flat(parcel);
        let (content, bytes) = (hash_id(&whole), whole.len() - FRAME_HEADER_BYTES);
        let mut decoder = FrameDecoder::new();
        decoder.push(whole);
        let (kind, body) = decoder.next_frame().expect("it was encoded here").expect("and is whole");
        let frame = match kind {
            FrameType::Bundle => {
                self.note_bundle(link, &body);
                Frame::Bundle(body)
            }
            FrameType::Acknowledge => Frame::Acknowledge(body),
            FrameType::Relayed => Frame::Relayed(body),
            FrameType::Copies => {
                if let Some(bundle) = copies::carried(&body) {
                    self.note_bundle(link, &bundle);
                }
                Frame::Copies(body)
            }
            FrameType::Control => {
                let body = ControlBody::decode(body).expect("it was encoded here");
                Frame::Control(body.expect("both ends have the same version"), None)
            }
            other => unreachable!("no node sends a frame of type {other:?} to another"),
        };
        self.send(link, Sent { lane, frame, bytes, content });
    }

    pub(crate) fn send(&mut self, link: LinkSlot, mut sent: Sent) {
        let (id, side) = end_of(link);
        let Some((from, _)) = self.pairs.get(&id).filter(|pair| pair.is_up[side]).map(|pair| pair.ends[side])
        else {
            return;
        };
        if !self.twist(from, &mut sent) {
            return;
        }
        match &sent.frame {
            Frame::Probe(_)
            | Frame::Control(
                ControlBody::Probe(_)
                | ControlBody::Statements(_)
                | ControlBody::Standings(_)
                | ControlBody::Roster(_)
                | ControlBody::Names(_)
                | ControlBody::Agreement(_)
                | ControlBody::PeerMessage(_),
                _,
            ) => {}
            Frame::Control(..)
            | Frame::Bundle(_)
            | Frame::Copies(_)
            | Frame::Acknowledge(_)
            | Frame::Relayed(_) => self.frames += 1,
        }
        // Frames that leave together share packets; who counts bytes counts each packet's own once.
        self.bytes += (sent.bytes + FRAME_HEADER_BYTES + PACKET_OVERHEAD_BYTES) as u64;
        self.trace.note(self.now, from, Mark::Sent, sent.content ^ u64::from(link.0) << 32);
        self.transmit(id, side, sent);
    }

    /// A frame arrives at the end of index `side`.
    pub(crate) fn arrive(&mut self, id: u64, side: usize, sent: Sent) {
        let Some(pair) = self.pairs.get_mut(&id).filter(|pair| pair.is_up[side]) else { return };
        match sent.frame {
            Frame::Bundle(_) | Frame::Copies(_) if pair.is_waiting[side] => {
                pair.waiting[side].push_back(sent)
            }
            _ => self.read(id, side, sent),
        }
    }

    /// The end of index `side` works a frame off.
    fn read(&mut self, id: u64, side: usize, sent: Sent) {
        let Some(pair) = self.pairs.get_mut(&id).filter(|pair| pair.is_up[side]) else { return };
        let ((at, link), (other, _)) = (pair.ends[side], pair.ends[1 - side]);
        if let Frame::Bundle(body) | Frame::Copies(body) = &sent.frame {
            pair.unread[1 - side] = pair.unread[1 - side].saturating_sub(body.len());
        }
        self.remember(at, &sent);
        self.trace.note(self.now, at, Mark::Came, sent.content ^ u64::from(link.0) << 32);
        let now = self.now_at(at);
        let Some(frame) = self.bugged_frame(at, link, sent.frame) else { return self.settle(at) };
        let Some(plane) = self.nodes[at].plane.clone() else { return };
        match frame {
            Frame::Bundle(body) if body.len() > limits::FRAME_BYTES_MAX => {
                // As the product's readers do: it counts, and the link is closed.
                let offence = Report::Offence { from: link, offence: Offence::MalformedFrame };
                self.input(at, Input::Reported(offence));
                return self.hang_up(link);
            }
            Frame::Control(body, encoded) => {
                let body = match encoded {
                    Some(bytes) => ControlBody::decode(bytes).expect("it was encoded here"),
                    None => Some(body),
                };
                let body = body.expect("both ends have the same version");
                return self.input(at, Input::Control { link, body });
            }
            Frame::Probe(body) => return self.input(at, Input::Probe { link, body }),
            Frame::Bundle(body) => {
                let before = wanted_bytes(&plane);
                let until = plane.receive(now, link, &body, &mut self.touched);
                self.measure_copy(&body, (other, at), wanted_bytes(&plane) - before);
                self.wait_to_read(id, side, until);
            }
            Frame::Copies(body) => {
                let before = wanted_bytes(&plane);
                let is_first = sent.lane == Lane::Priority;
                let until = plane.copies(now, link, is_first, &body, &mut self.touched);
                if let Some(bundle) = copies::carried(&body) {
                    self.measure_copy(&bundle, (other, at), wanted_bytes(&plane) - before);
                }
                self.wait_to_read(id, side, until);
            }
            Frame::Acknowledge(body) => plane.acknowledge(now, link, &body, &mut self.touched),
            Frame::Relayed(body) => {
                if let Some((link, body)) = plane.relayed(now, link, sent.lane, &body, &mut self.touched) {
                    let body = ControlBody::decode(body).expect("its end wrote it");
                    let body = body.expect("both ends have the same version");
                    self.flush(at);
                    return self.input(at, Input::Control { link, body });
                }
            }
        }
        self.trace.step();
        self.flush(at);
        self.settle(at);
    }

    /// The end of index `side` does not read bundles before `until`.
    fn wait_to_read(&mut self, id: u64, side: usize, until: Option<Time>) {
        let (Some(pair), Some(until)) = (self.pairs.get_mut(&id), until) else { return };
        pair.is_waiting[side] = true;
        self.at(until, Transit::Read { pair: id, side });
    }

    /// The end of index `side` reads on, until it has to wait again.
    pub(crate) fn read_on(&mut self, id: u64, side: usize) {
        if let Some(pair) = self.pairs.get_mut(&id) {
            pair.is_waiting[side] = false;
        }
        while let Some(pair) = self.pairs.get_mut(&id).filter(|pair| !pair.is_waiting[side])
            && let Some(sent) = pair.waiting[side].pop_front()
        {
            self.read(id, side, sent);
        }
    }

    /// Who looks on hears of a bundle that goes onto a link.
    fn note_bundle(&mut self, link: LinkSlot, body: &Bytes) {
        let (id, side) = end_of(link);
        let from = self.pairs.get(&id).map(|pair| pair.ends[side].0);
        if self.meter.is_some()
            && let (Some(from), Some(passing)) = (from, Passing::of(body))
        {
            self.mail.push((from, Mail::Sent(passing)));
        }
    }

    /// Who looks on hears of what a node says of itself and others.
    fn note_statements(&mut self, from: usize, body: &ControlBody) {
        let ControlBody::Statements(said) = body else { return };
        if self.meter.is_none() {
            return;
        }
        let me = self.nodes[from].id();
        let read = said.signed.iter().filter_map(|signed| Statement::decode(&mut Reader::new(signed)).ok());
        let own = read.filter(|said| said.speaker == me);
        self.mail.extend(own.map(|said| (from, Mail::Said(said))));
    }

    fn measure_state(&mut self, node: usize, bundle: &Bundle) {
        let Some(meter) = self.meter.as_mut().filter(|_| bundle.origin == self.nodes[node].id()) else {
            return;
        };
        let nodes = &self.nodes;
        let has_replica = |at: &usize| nodes[*at].is_running() && nodes[*at].plan.roles != Roles::COORDINATOR;
        meter.state_sealed(node, name_of(bundle), || (0..nodes.len()).filter(has_replica).collect());
    }

    fn measure_copy(&mut self, body: &Bytes, (from, to): (usize, usize), needed: u64) {
        let Some(meter) = self.meter.as_mut() else { return };
        if let Some(copy) = Passing::of(body).filter(|copy| copy.name.class >= Class::EventPriority) {
            meter.came(&copy, from, to, needed);
        }
    }

    pub(crate) fn trace_input(&mut self, at: usize, input: &Input) {
        self.trace.step();
        let content = match input {
            // Noted by their bytes when they came.
            Input::Control { .. } | Input::Probe { .. } | Input::State { .. } => return,
            Input::Wake => 0,
            Input::LinkUp { link, .. } => 1 << 56 | u64::from(link.0),
            Input::LinkDown { link, timed_out } => 2 << 56 | u64::from(*timed_out) << 40 | u64::from(link.0),
            // Rare, or many in one: their text says all.
            Input::DialFailed { .. }
            | Input::Candidates { .. }
            | Input::Disconnected { .. }
            | Input::Attach { .. }
            | Input::Changes { .. }
            | Input::Request { .. }
            | Input::SystemAcknowledged { .. }
            | Input::Unresolved(_)
            | Input::Reported(_)
            | Input::Committed { .. }
            | Input::Wanted(_)
            | Input::Restored { .. }
            | Input::Undecided { .. }
            | Input::Standings(_)
            | Input::Stop => text_hash(input),
            Input::Distances(distances) => distances.iter().fold(4u64 << 56, |hash, (link, rtt)| {
                hash.rotate_left(5) ^ u64::from(link.0) ^ rtt.as_nanos() as u64
            }),
            Input::Measured(snapshot) => {
                snapshot.counters.iter().fold(3u64 << 56, |hash, (_, count)| hash.rotate_left(5) ^ count)
            }
        };
        self.trace.note(self.now, at, Mark::Input, content);
    }

    fn trace_output(&mut self, at: usize, output: &Output) {
        let content = match output {
            // Noted by their bytes when they are sent.
            Output::Control { .. }
            | Output::ControlToAll { .. }
            | Output::Probe { .. }
            | Output::State { .. } => return,
            Output::View(view) => {
                (view.origins.len() as u64) << 40
                    ^ (view.links.len() as u64) << 20
                    ^ view.destinations.len() as u64
            }
            Output::Dial { .. }
            | Output::HangUp { .. }
            | Output::Reply { .. }
            | Output::Broadcast { .. }
            | Output::Host { .. }
            | Output::Unhost { .. }
            | Output::Home { .. }
            | Output::Admit(_)
            | Output::Undeliverable(_)
            | Output::Resend(_)
            | Output::Forget(_)
            | Output::Event(_)
            | Output::Propose(_)
            | Output::Granted(_)
            | Output::Stopped => text_hash(output),
        };
        self.trace.note(self.now, at, Mark::Output, content);
    }
}

/// Bytes of events that were new and wanted at a node.
fn wanted_bytes(plane: &Plane) -> u64 {
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    read(&plane.counters.received_bytes) - read(&plane.counters.unwanted_bytes)
}

/// A hash of what a thing says of itself, without the text ever being in memory.
fn text_hash(thing: &impl std::fmt::Debug) -> u64 {
    struct Hashing(u64);
    impl std::fmt::Write for Hashing {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            self.0 = self.0.rotate_left(7) ^ hash_id(text.as_bytes());
            Ok(())
        }
    }
    let mut hashing = Hashing(0);
    let written = std::fmt::Write::write_fmt(&mut hashing, format_args!("{thing:?}"));
    written.map_or(0, |()| hashing.0)
}

/// The frame in one piece.
pub(crate) fn flat(parcel: Parcel) -> Bytes {
    if parcel.shared.is_empty() {
        return parcel.front;
    }
    let mut whole = BytesMut::with_capacity(parcel.len());
    whole.extend_from_slice(&parcel.front);
    parcel.shared.iter().for_each(|piece| whole.extend_from_slice(piece));
    whole.freeze()
}
