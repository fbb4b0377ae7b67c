//! Two agents on a mesh: `cargo run --example hello [mesh.trust address]`, by default the mesh that
//! `starling dev` runs.

use starling_client::{Client, ClientSettings, Notice, Profile, new_key};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let settings = match (arguments.next(), arguments.next()) {
        (Some(trust), Some(edge)) => ClientSettings::load(trust, [edge])?,
        _ => ClientSettings::from_dev()?,
    };
    let client = Client::connect(settings).await?;
    let listener = client.agent(new_key()?, Profile::default()).await?;
    let speaker = client.agent(new_key()?, Profile::default()).await?;
    let mut greetings = listener.subscribe("greetings.*").await?;
    speaker.publish("greetings.world", "hello, world").await?;
    if let Some(Notice::Event(event)) = greetings.next().await {
        println!("{}: {}", event.subject, String::from_utf8_lossy(&event.payload));
    }
    client.close().await?;
    Ok(())
}
