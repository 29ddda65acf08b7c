use super::*;

#[test]
fn errors_contain_no_personal_identifiers() {
    use proptest::{
        strategy::{Strategy, ValueTree},
        test_runner::TestRunner,
    };
    let mut runner = TestRunner::default();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for _ in 0..64 {
        let device = any_device().new_tree(&mut runner).unwrap().current();
        let fixture = LedgerFixture::new();
        let request = reservation_request(create_request(device, "192.0.2.1"));
        let result = runtime.block_on(async {
            let _held = fixture.reserve_for(party("c1"), request.clone()).await;
            fixture.reserve_for(party("c2"), request).await.map(drop)
        });
        assert!(
            matches!(
                result,
                Ok(())
                    | Err(Error::DeviceTooBroad
                        | Error::Conflict { own_session: None, device_ambiguous: false })
            ),
            "{result:?}"
        );
    }
}
