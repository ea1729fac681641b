//! The engine's own HLS: a playlist per session, segments per infohash.

use crate::conn::End;
use crate::counters::bump;
use crate::http::Response;
use crate::knobs::Knob;
use crate::routes::Exchange;
use crate::routes::Reply;
use crate::routes::playback::Prebuffered;
use crate::routes::playback::prebuffer;
use crate::session::Lookup;
use crate::source::ts::PACKET_BYTES;

const LISTED: u64 = 13;

pub(crate) fn playlist(x: &Exchange, infohash: &str, list: &str) -> Reply {
    let key = list.trim_end_matches(".m3u8");
    if x.flag(Knob::Takeover403, Some(infohash)) {
        return Response::forbidden().into();
    }
    let serial = match x.engine.world().sessions.lookup(infohash, key) {
        Lookup::Current(serial) => serial,
        Lookup::Superseded(_) => return Response::forbidden().into(),
        Lookup::Gone(_) | Lookup::Unknown => return Response::not_found_resource().into(),
    };
    match prebuffer(x, infohash, serial) {
        Prebuffered::Ready => {}
        Prebuffered::Ended => return Response::failure("download not found").into(),
        Prebuffered::NotYet => return Response::failure("start timeout").into(),
        Prebuffered::Nobody => return Reply::Reset,
    }
    let Some(media) = x.engine.channel(infohash).media.clone() else {
        return Response::failure("download not found").into();
    };
    let mut world = x.engine.world();
    let host = x.host(&world, infohash);
    world.sessions.session(serial).progress.touch();
    drop(world);
    let end = media.segments_until(x.engine.elapsed_us());
    let first = end.saturating_sub(LISTED);
    let mut text = format!(
        "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:7\n#EXT-X-MEDIA-SEQUENCE:{first}\n"
    );
    for number in first..end {
        let seconds = media.segment(number).duration_us as f64 / 1e6;
        text.push_str(&format!(
            "#EXTINF:{seconds:.6},\nhttp://{host}/ace/c/{infohash}/{number}.ts\n"
        ));
    }
    bump(&x.engine.counting.playlists);
    Response::new("200 OK")
        .with("Content-Type", "application/vnd.apple.mpegurl")
        .with("Access-Control-Allow-Origin", "*")
        .body(text)
        .sized()
        .into()
}

pub(crate) fn segment(x: &Exchange, infohash: &str, name: &str) -> Reply {
    let number: Option<u64> = name.trim_end_matches(".ts").parse().ok();
    let media = x.engine.channel(infohash).media.clone();
    let playing = {
        let mut world = x.engine.world();
        let serial = world.sessions.downloads.get(infohash).map(|download| download.current);
        serial.map(|serial| world.sessions.session(serial).progress.clone())
    };
    let (Some(number), Some(media), Some(progress)) = (number, media, playing) else {
        return Response::not_found_resource().into();
    };
    if number >= media.segments_until(x.engine.elapsed_us()) {
        return Response::new("404 Not Found").sized().into();
    }
    let segment = media.segment(number);
    let mut body = vec![0; segment.packets as usize * PACKET_BYTES];
    media.fill(segment.first, &mut body);
    bump(&x.engine.counting.segments);
    let response = Response::new("200 OK")
        .with("Content-Type", "video/mp2t")
        .with("Access-Control-Allow-Origin", "*")
        .body(body)
        .sized();
    let touch = |_| progress.touch();
    if x.conn.write_all(&response.bytes(&x.request.version), touch).is_err()
        && x.conn.ended() == Some(End::Killed)
    {
        return Reply::Reset;
    }
    x.conn.finish();
    Reply::Done
}
