//! What goes wrong, when, and when it ends: drawn from the seed before the run begins.

use std::time::Duration;

use starling_core::identity::Roles;
use starling_core::rng::Rng;
use starling_core::time::Time;

use crate::settings::Settings;
use crate::world::World;

/// Something that goes wrong, or ends.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// A node is killed.
    Kill(usize),
    /// It is started again.
    Start(usize),
    /// A node is paused.
    Pause(usize),
    /// It goes on.
    Resume(usize),
    /// Two nodes cannot reach each other.
    Cut(usize, usize),
    /// The first cannot reach the second.
    CutOneWay(usize, usize),
    /// Two nodes can reach each other again.
    Heal(usize, usize),
    /// A link is closed.
    Close(usize, usize),
    /// These nodes are cut off from those.
    Split(Vec<usize>, Vec<usize>),
    /// And no longer.
    Join(Vec<usize>, Vec<usize>),
}

impl Fault {
    /// Its kind, as reports name it.
    pub fn kind(&self) -> &'static str {
        match self {
            Fault::Kill(_) => "kill",
            Fault::Start(_) => "start",
            Fault::Pause(_) => "pause",
            Fault::Resume(_) => "resume",
            Fault::Cut(..) => "cut",
            Fault::CutOneWay(..) => "one-way cut",
            Fault::Heal(..) => "heal",
            Fault::Close(..) => "close",
            Fault::Split(..) => "partition",
            Fault::Join(..) => "join",
        }
    }

    /// Lets it happen.
    pub fn apply(&self, world: &mut World) {
        match self {
            Fault::Kill(node) => world.kill(*node),
            Fault::Start(node) if !world.nodes[*node].is_running() => world.start(*node),
            Fault::Start(_) => {}
            Fault::Pause(node) => world.pause(*node),
            Fault::Resume(node) => world.resume(*node),
            Fault::Cut(left, right) => world.cut(*left, *right),
            Fault::CutOneWay(from, to) => world.cut_one_way(*from, *to),
            Fault::Heal(left, right) => world.heal(*left, *right),
            Fault::Close(left, right) => world.close(*left, *right),
            Fault::Split(some, others) => each(some, others, |left, right| world.cut(left, right)),
            Fault::Join(some, others) => each(some, others, |left, right| world.heal(left, right)),
        }
    }
}

fn each(some: &[usize], others: &[usize], mut of: impl FnMut(usize, usize)) {
    for left in some {
        others.iter().for_each(|right| of(*left, *right));
    }
}

/// Draws the faults of a run: each begins between `from` and `from + settings.time`, and all have ended
/// by then.
pub(crate) fn draw(settings: &Settings, world: &World, from: Time, rng: &mut Rng) -> Vec<(Time, Fault)> {
    let mut plan = Vec::new();
    let until = from + settings.time;
    let count = world.nodes.len() as u64;
    let rates = &settings.faults;
    let mut every = |mean: Duration, rng: &mut Rng, make: &dyn Fn(&mut Rng) -> (Fault, Option<Fault>)| {
        if mean.is_zero() {
            return;
        }
        let mut at = from + exponential(mean, rng);
        while at < until {
            let (begins, ends) = make(rng);
            let lasts = exponential(Duration::from_secs(4), rng).min(Duration::from_secs(20));
            plan.push((at, begins));
            plan.extend(ends.map(|ends| ((at + lasts).min(until), ends)));
            at = at + exponential(mean, rng);
        }
    };
    let node = |rng: &mut Rng| rng.below(count) as usize;
    let two = |rng: &mut Rng| {
        let left = rng.below(count) as usize;
        (left, (left + 1 + rng.below(count - 1) as usize) % count as usize)
    };
    every(rates.crash, rng, &|rng| {
        let node = node(rng);
        (Fault::Kill(node), Some(Fault::Start(node)))
    });
    every(rates.pause, rng, &|rng| {
        let node = node(rng);
        (Fault::Pause(node), Some(Fault::Resume(node)))
    });
    if count > 1 {
        every(rates.cut, rng, &|rng| {
            let (left, right) = two(rng);
            (Fault::Cut(left, right), Some(Fault::Heal(left, right)))
        });
        every(rates.one_way, rng, &|rng| {
            let (left, right) = two(rng);
            (Fault::CutOneWay(left, right), Some(Fault::Heal(left, right)))
        });
        every(rates.close, rng, &|rng| {
            let (left, right) = two(rng);
            (Fault::Close(left, right), None)
        });
        every(rates.partition, rng, &|rng| {
            let (some, others) = split(world, rng);
            (Fault::Split(some.clone(), others.clone()), Some(Fault::Join(some, others)))
        });
    }
    for (at, edge) in draw_deaths(settings, world, from, rng) {
        plan.retain(|(when, fault)| {
            *when < at || !matches!(fault, Fault::Kill(of) | Fault::Start(of) if *of == edge)
        });
        plan.push((at, Fault::Kill(edge)));
    }
    // Of several at one time the order of drawing counts.
    plan.sort_by_key(|(at, _)| *at);
    plan
}

/// Edges that are killed for good, and when; two of each region stay.
fn draw_deaths(settings: &Settings, world: &World, from: Time, rng: &mut Rng) -> Vec<(Time, usize)> {
    let mean = settings.faults.death;
    let is_edge = |at: &usize| world.nodes[*at].plan.roles == Roles::EDGE;
    let mut living: Vec<usize> = (0..world.nodes.len()).filter(is_edge).collect();
    let mut deaths = Vec::new();
    let mut at = from;
    while !mean.is_zero() && !living.is_empty() {
        at = at + exponential(mean, rng);
        if at >= from + settings.time {
            break;
        }
        let edge = living[rng.below(living.len() as u64) as usize];
        let region = &world.nodes[edge].plan.region;
        if living.iter().filter(|of| world.nodes[**of].plan.region == *region).count() > 2 {
            living.retain(|of| *of != edge);
            deaths.push((at, edge));
        }
    }
    deaths
}

/// A minority of one region, and the rest of the mesh.
fn split(world: &World, rng: &mut Rng) -> (Vec<usize>, Vec<usize>) {
    let at = rng.below(world.nodes.len() as u64) as usize;
    let region = &world.nodes[at].plan.region;
    let mut members: Vec<usize> =
        (0..world.nodes.len()).filter(|node| world.nodes[*node].plan.region == *region).collect();
    rng.shuffle(&mut members);
    members.truncate((members.len() / 2).max(1));
    let others = (0..world.nodes.len()).filter(|node| !members.contains(node)).collect();
    (members, others)
}

/// A time with this mean, as between events that know nothing of one another.
pub(crate) fn exponential(mean: Duration, rng: &mut Rng) -> Duration {
    // 53 bits, never zero: the logarithm is finite.
    let uniform = ((rng.next_u64() >> 11) + 1) as f64 / (1u64 << 53) as f64;
    mean.mul_f64(-uniform.ln())
}
