//! The server's counters: one GET of /metrics at each end of the window, and the difference.
//!
//! Kept are `*_total`, labelled ones added up by name, and the whole of one histogram.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;

use crate::chunked::Body;
use crate::head;
use crate::join::write_all;

const PATIENCE: Duration = Duration::from_secs(10);
const PAGE_BYTES_MAX: usize = 64 << 20;
const HISTOGRAM: &str = "ringcast_delivery_latency_seconds";

/// Differences by name.
pub(crate) type Counted = BTreeMap<String, f64>;

/// Each series with the name that it counts for, and its value.
pub(crate) type Counters = BTreeMap<String, (String, f64)>;

pub(crate) async fn fetch(target: SocketAddr) -> Result<Counters, String> {
    let page = tokio::time::timeout(PATIENCE, get(target)).await;
    let page = page.unwrap_or_else(|_| Err("no answer in 10 s".to_owned()));
    page.map(|page| parse(&page)).map_err(|why| format!("http://{target}/metrics: {why}"))
}

async fn get(target: SocketAddr) -> Result<String, String> {
    let stream = TcpStream::connect(target).await.map_err(|error| error.to_string())?;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n");
    write_all(&stream, request.as_bytes()).await.map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        stream.readable().await.map_err(|error| error.to_string())?;
        match stream.try_read(&mut buffer) {
            Ok(0) => break,
            Ok(_) if bytes.len() > PAGE_BYTES_MAX => return Err("endless".to_owned()),
            Ok(read) => bytes.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    let head = head::parse(&bytes)?.ok_or("closed before its answer")?;
    if head.status != 200 {
        return Err(head.status_text);
    }
    let mut page = Vec::new();
    Body::new(head.chunked).feed(&bytes[head.len..], |part| page.extend_from_slice(part));
    Ok(String::from_utf8_lossy(&page).into_owned())
}

fn parse(page: &str) -> Counters {
    let mut counters = Counters::new();
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let Some((series, value)) = line.rsplit_once(' ') else { continue };
        let Ok(value) = value.parse::<f64>() else { continue };
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let key = match name.strip_prefix(HISTOGRAM) {
            Some("_sum" | "_count") => name.to_owned(),
            Some("_bucket") => format!("{name}{{le=\"{}\"}}", le(labels)),
            Some(_) | None if name.ends_with("_total") => name.to_owned(),
            Some(_) | None => continue,
        };
        counters.insert(series.to_owned(), (key, value));
    }
    counters
}

fn le(labels: &str) -> &str {
    let mut parts = labels.trim_end_matches('}').split(',');
    let bound = parts.find_map(|label| label.trim().strip_prefix("le=\""));
    bound.unwrap_or_default().trim_end_matches('"')
}

/// What was counted in between. A series that appeared or began again began at zero, one that went
/// away has taken its end with it.
pub(crate) fn difference(start: &Counters, end: &Counters) -> Counted {
    let mut counted = Counted::new();
    for (series, (name, value)) in end {
        let before = start.get(series).map_or(0.0, |(_, before)| *before);
        let since = if before <= *value { value - before } else { *value };
        *counted.entry(name.clone()).or_default() += since;
    }
    counted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_added_up_by_name_and_subtracted() {
        let start = parse(
            "# HELP a_total x\na_total 5\nb_total{x=\"1\"} 1\nb_total{x=\"2\"} 2\nb_total{x=\"3\"} 9\n",
        );
        let end = parse(
            "a_total 8\nb_total{x=\"1\"} 1\nb_total{x=\"2\"} 4\nc_total 1\ngauge 9\n\
             ringcast_delivery_latency_seconds_bucket{le=\"0.1\"} 3\n\
             ringcast_delivery_latency_seconds_bucket{shard=\"1\",le=\"+Inf\"} 4\n\
             ringcast_delivery_latency_seconds_sum 0.5\n",
        );
        let found = difference(&start, &end);
        let found: Vec<_> = found.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        let expected = [
            ("a_total", 3.0),
            ("b_total", 2.0),
            ("c_total", 1.0),
            ("ringcast_delivery_latency_seconds_bucket{le=\"+Inf\"}", 4.0),
            ("ringcast_delivery_latency_seconds_bucket{le=\"0.1\"}", 3.0),
            ("ringcast_delivery_latency_seconds_sum", 0.5),
        ];
        assert_eq!(found, expected);
    }
}
