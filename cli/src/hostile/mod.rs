//! A hostile node for `starling chaos badboy`: an admitted node whose machine works as any other's, and
//! one attack on top of that. Nothing but the hidden command of this room leads here.
//!
//! `machine` strikes; `doors` are crowds and handshakes at the doors of others; `tap` is what it sees of its links and how it gets onto them past its machine. What
//! is made up comes from `starling_hostile`, which the simulator shares.

mod doors;
mod machine;
mod tap;

use std::path::PathBuf;
use std::sync::Arc;

use starling_core::identity::SecretKey;
use starling_core::machine::Machine;
use starling_hostile::{Attack, Liar};
use starling_net::Start;
use starling_net::trust::Trust;

use self::machine::Hostile;
pub use self::tap::Tap;

use crate::args::HostileArgs;
use crate::exit::{ExitCode, Failure};
use crate::output::Output;

/// What a node lies about, and while which file exists.
#[derive(Clone, Debug)]
pub struct Lie {
    attack: Attack,
    sign: PathBuf,
    /// Its way past the machine.
    pub tap: Arc<Tap>,
    /// The mesh that it lies to, once that is known.
    trust: Option<Trust>,
}

impl Lie {
    /// The same in this mesh.
    pub fn within(self, trust: Trust) -> Lie {
        Lie { trust: Some(trust), ..self }
    }

    /// The machine that lies.
    pub fn corrupt(&self, start: &Start, key: &SecretKey, honest: Box<dyn Machine>) -> Box<dyn Machine> {
        let liar = Liar {
            mesh: start.me.mesh,
            id: start.me.id,
            incarnation: start.me.incarnation,
            signer: key.signer(),
            wall: start.now.wall,
        };
        self.tap.set_name(start.me.id);
        Box::new(Hostile::new(honest, liar, start.admission.clone(), self))
    }
}

/// Runs a hostile node until it is asked to stop.
///
/// # Errors
/// As `starling run`, or there is no such attack.
pub fn run(args: &HostileArgs, output: &Output) -> Result<(), Failure> {
    let unknown = || Failure::new(ExitCode::Usage, format!("`{}` is no attack", args.attack));
    let attack = Attack::named(&args.attack).ok_or_else(unknown)?;
    let lie = Lie { attack, sign: args.sign.clone(), tap: Arc::new(Tap::new(attack)), trust: None };
    crate::run::run_hostile(&args.node, lie, output)
}
