//! The quickstart runs to its end.

#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "../quickstart/main.rs"]
mod quickstart;

#[tokio::test]
async fn each_way_of_asking_works() {
    quickstart::run().await.unwrap();
}
