//! The only file that names `rdma-sys`: what the crate uses of libibverbs and librdmacm.
//!
//! Only classic verbs are used. On 64-bit machines `rdma-sys` finds no extended verb
//! (`verbs_get_ctx` compares with the wrong constant), and its `ibv_query_port` is the short
//! compatibility symbol.
//!
//! `ibv_event_type` is a Rust enum there although the kernel fills it: it is declared here as the
//! integer it is, with its values from `infiniband/verbs.h`, and no value of the enum is ever made.

pub(crate) use rdma_sys::{
    ibv_access_flags, ibv_ack_async_event, ibv_ack_cq_events, ibv_alloc_pd, ibv_async_event,
    ibv_comp_channel, ibv_context, ibv_cq, ibv_create_comp_channel, ibv_create_cq, ibv_create_srq,
    ibv_dealloc_pd, ibv_dereg_mr, ibv_destroy_comp_channel, ibv_destroy_cq, ibv_destroy_qp,
    ibv_destroy_srq, ibv_device_attr, ibv_device_cap_flags, ibv_get_async_event, ibv_get_cq_event,
    ibv_modify_qp, ibv_mr, ibv_node_type, ibv_pd, ibv_poll_cq, ibv_post_recv, ibv_post_send,
    ibv_post_srq_recv, ibv_qp, ibv_qp_attr, ibv_qp_attr_mask, ibv_qp_cap, ibv_qp_init_attr,
    ibv_qp_state, ibv_qp_type, ibv_query_device, ibv_query_qp, ibv_recv_wr, ibv_reg_mr,
    ibv_req_notify_cq, ibv_send_flags, ibv_send_wr, ibv_sge, ibv_srq, ibv_srq_attr,
    ibv_srq_init_attr, ibv_wc, ibv_wc_status, ibv_wr_opcode, imm_data_invalidated_rkey_union_t,
    rdma_accept, rdma_ack_cm_event, rdma_bind_addr, rdma_cm_event, rdma_cm_event_type, rdma_cm_id,
    rdma_conn_param, rdma_connect, rdma_create_event_channel, rdma_create_id, rdma_create_qp,
    rdma_destroy_event_channel, rdma_destroy_id, rdma_disconnect, rdma_event_channel,
    rdma_get_cm_event, rdma_listen, rdma_migrate_id, rdma_port_space, rdma_reject,
    rdma_resolve_addr, rdma_resolve_route, rdma_t,
};

/// Values of `enum ibv_event_type`.
pub(crate) mod async_event_type {
    pub(crate) const CQ_ERR: u32 = 0;
    pub(crate) const QP_FATAL: u32 = 1;
    pub(crate) const QP_REQ_ERR: u32 = 2;
    pub(crate) const QP_ACCESS_ERR: u32 = 3;
    pub(crate) const COMM_EST: u32 = 4;
    pub(crate) const SQ_DRAINED: u32 = 5;
    pub(crate) const DEVICE_FATAL: u32 = 8;
    pub(crate) const QP_LAST_WQE_REACHED: u32 = 16;
}
