//! Behind a real nginx, set up as the README says: each client has its own quota, and nothing it sends buys another.

#![allow(clippy::unwrap_used)]

mod common;
#[path = "../../limiter-core/tests/servers/mod.rs"]
mod servers;

use axum::{Router, routing::get};
use common::{limit, serve_with_peers};
use http::HeaderName;
use limiter_axum::{PeerAddr, TrustedProxies};
use servers::NginxServer;
use std::net::Ipv4Addr;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpSocket,
};

/// nginx calls from here, and so do no clients.
const NGINX: [&str; 1] = ["127.0.0.1"];

const ADA: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const BOB: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

/// An app of three parts, each behind a location of nginx that tells of clients in another way; and `/twice`, which
/// goes through nginx a second time.
async fn start() -> NginxServer {
    let part = |proxies: TrustedProxies| {
        let page = Router::new().route("/", get(async || "hello"));
        page.layer(limit("1/h").key(PeerAddr::new().behind(proxies)))
    };
    let x_real_ip = HeaderName::from_static("x-real-ip");
    let app = Router::new()
        .nest("/appended", part(TrustedProxies::x_forwarded_for(NGINX).unwrap()))
        .nest("/forwarded", part(TrustedProxies::forwarded(NGINX).unwrap()))
        .nest("/replaced", part(TrustedProxies::single_address(x_real_ip, NGINX).unwrap()));
    let app = serve_with_peers(app).await.address;
    let locations = format!(
        "location /appended {{\n\
         proxy_pass http://{app};\n\
         proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n\
         }}\n\
         location /forwarded {{\n\
         proxy_pass http://{app};\n\
         proxy_set_header Forwarded '$http_forwarded, for=\"$remote_addr:$remote_port\";proto=$scheme';\n\
         }}\n\
         location /replaced {{\n\
         proxy_pass http://{app};\n\
         proxy_set_header X-Real-IP $remote_addr;\n\
         }}\n\
         location /twice {{\n\
         rewrite ^/twice(/.*)$ $1 break;\n\
         proxy_pass http://127.0.0.1:$server_port;\n\
         proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n\
         proxy_set_header Forwarded '$http_forwarded, for=$remote_addr';\n\
         }}\n"
    );
    tokio::task::spawn_blocking(move || NginxServer::start("", &locations, "")).await.unwrap()
}

/// The status of a request from another loopback address; `headers` are whole lines.
async fn status(nginx: &NginxServer, source: Ipv4Addr, path: &str, headers: &str) -> u16 {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((source, 0).into()).unwrap();
    let mut stream = socket.connect((Ipv4Addr::LOCALHOST, nginx.port()).into()).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    reply.split(' ').nth(1).unwrap().parse().unwrap()
}

/// What Ada sends after her only request.
const SPOOFS: [&str; 10] = [
    "",
    "x-forwarded-for: 1.2.3.4\r\n",
    "x-forwarded-for: 1.2.3.4\r\nx-forwarded-for: 127.0.0.1, 1.2.3.5\r\n",
    "x-forwarded-for: 127.0.0.1\r\n",
    "x-forwarded-for: \"\r\n",
    "forwarded: for=1.2.3.4\r\n",
    "forwarded: for=127.0.0.1\r\n",
    "forwarded: for=1.2.3.4;host=\"\r\n",
    "forwarded: for=\"[2001:db8::1\\\r\n",
    "x-real-ip: 1.2.3.4\r\nX-Real-IP: 1.2.3.5\r\n",
];

async fn has_a_quota_a_client(nginx: &NginxServer, path: &str) {
    assert_eq!(status(nginx, ADA, path, "").await, 200, "{path}");
    for spoof in SPOOFS {
        assert_eq!(status(nginx, ADA, path, spoof).await, 429, "{path}: {spoof:?}");
    }
    let as_ada = "x-forwarded-for: 127.0.0.2\r\nforwarded: for=127.0.0.2\r\nx-real-ip: 127.0.0.2\r\n";
    assert_eq!(status(nginx, BOB, path, as_ada).await, 200, "{path}");
    assert_eq!(status(nginx, BOB, path, "").await, 429, "{path}");
}

#[tokio::test]
async fn each_client_has_its_own_quota_however_nginx_tells_of_it() {
    let nginx = start().await;
    for path in ["/appended", "/forwarded", "/replaced"] {
        has_a_quota_a_client(&nginx, path).await;
    }
}

#[tokio::test]
async fn so_it_has_behind_a_chain_of_proxies() {
    let nginx = start().await;
    for path in ["/twice/appended", "/twice/forwarded"] {
        has_a_quota_a_client(&nginx, path).await;
    }
}
