//! Cases: what a program still runs for. `ref`, `unref`, and the wait until nothing referenced is left.

use std::time::Duration;

use futures_util::future::join;
use utp_driver::SocketConfig;

use super::Adapter;
use super::tools::{bind_with, config, connection, expect_end, give_up_after, receive, send};

fn brief() -> SocketConfig {
    config(|config| {
        config.linger(Duration::from_millis(100)).expect("a valid time");
    })
}

/// Whether a program that waits for `socket` would go on.
async fn goes_on<A: Adapter>(socket: &A::Socket) -> bool {
    match give_up_after(1, A::unreferenced(socket)).await {
        None => true,
        Some(result) => {
            result.expect("a driver");
            false
        }
    }
}

/// Until it is closed or unreferenced, and again when it is referenced again.
pub async fn a_referenced_listener_keeps_the_program<S: Adapter, C: Adapter>() {
    let (server, client) = (bind_with::<S>(brief()).await, bind_with::<C>(brief()).await);
    assert!(goes_on::<S>(&server).await, "referenced from the start");
    for _ in 0..2 {
        S::set_referenced(&server, false);
        assert!(!goes_on::<S>(&server).await, "there is only an unreferenced listener");
    }
    for _ in 0..2 {
        S::set_referenced(&server, true);
        assert!(goes_on::<S>(&server).await);
    }
    // Once is enough, however often it was referenced; and who waits already learns it.
    let (waited, ()) = join(S::unreferenced(&server), async {
        S::pause().await;
        S::set_referenced(&server, false);
    })
    .await;
    waited.expect("a driver");
    // It is still there.
    let (accepted, connected) = connection::<S, C>(&server, &client).await;
    assert!(goes_on::<S>(&server).await, "streams are referenced by themselves");
    drop((accepted, connected));

    S::set_referenced(&server, true);
    let (waited, closed) = join(S::unreferenced(&server), async {
        S::pause().await;
        S::close(&server).await
    })
    .await;
    waited.expect("a driver");
    closed.expect("close");
    C::set_referenced(&client, false);
    C::unreferenced(&client).await.expect("the dropped stream ends");
}

/// Until it has ended or is unreferenced; unreferenced ones are left alone, and go on working.
pub async fn a_referenced_stream_keeps_the_program<S: Adapter, C: Adapter>() {
    let (server, client) = (bind_with::<S>(brief()).await, bind_with::<C>(brief()).await);
    S::set_referenced(&server, false);
    C::set_referenced(&client, false);
    let (accepted, connected) = connection::<S, C>(&server, &client).await;
    let (other_accepted, other_connected) = connection::<S, C>(&server, &client).await;
    assert!(goes_on::<S>(&server).await && goes_on::<C>(&client).await);
    for referenced in [false, false, true, true, false] {
        S::set_stream_referenced(&other_accepted, referenced);
        C::set_stream_referenced(&other_connected, referenced);
        assert!(goes_on::<S>(&server).await && goes_on::<C>(&client).await, "there is another one");
    }
    C::set_stream_referenced(&connected, false);
    assert!(!goes_on::<C>(&client).await, "only unreferenced ones are left");
    C::set_stream_referenced(&connected, true);
    assert!(goes_on::<C>(&client).await);

    // The end of the referenced one.
    let (mut reader, mut writer) = S::split(accepted);
    let (mut own_reader, mut own_writer) = C::split(connected);
    let ending = async {
        S::finish(&mut writer).await.expect("finish");
        C::finish(&mut own_writer).await.expect("finish");
        join(expect_end::<S>(&mut reader), expect_end::<C>(&mut own_reader)).await;
    };
    let (ends, ()) = join(join(S::unreferenced(&server), C::unreferenced(&client)), ending).await;
    ends.0.expect("a driver");
    ends.1.expect("a driver");
    // To say that it is referenced changes nothing any more.
    S::set_stream_referenced(S::stream(&writer), true);
    assert!(!goes_on::<S>(&server).await);

    let (mut reader, _writer) = S::split(other_accepted);
    let (_reader, mut writer) = C::split(other_connected);
    send::<C>(&mut writer, 1, 10_000).await;
    receive::<S>(&mut reader, 1, 10_000).await;
    assert!(!goes_on::<S>(&server).await && !goes_on::<C>(&client).await);
}

/// What a dropped stream still has to deliver is a reason to go on, unless it was unreferenced.
pub async fn a_dropped_stream_counts_until_its_end<S: Adapter, C: Adapter>() {
    const LENGTH: usize = 300_000;

    let (server, client) = (bind_with::<S>(brief()).await, bind_with::<C>(brief()).await);
    C::set_referenced(&client, false);
    for referenced in [true, false] {
        let (accepted, connected) = connection::<S, C>(&server, &client).await;
        C::set_stream_referenced(&connected, referenced);
        let (reader, mut writer) = C::split(connected);
        send::<C>(&mut writer, 1, LENGTH).await;
        drop((reader, writer));
        assert_eq!(goes_on::<C>(&client).await, referenced);
        let receiving = async {
            let (mut reader, _writer) = S::split(accepted);
            receive::<S>(&mut reader, 1, LENGTH).await;
            expect_end::<S>(&mut reader).await;
        };
        let (waited, ()) = join(C::unreferenced(&client), receiving).await;
        waited.expect("a driver");
        if referenced {
            assert_eq!(C::socket_stats(&client).endpoint.connections, 0);
        }
    }
}
