// Makes every call of an unmodified client, and one that fails with an error that the client can show.
import assert from "node:assert/strict";

const [name, site] = process.argv.slice(2);

async function reactAdmin(load) {
    const { default: provider } = await load();
    const client = (provider.default ?? provider)(site);
    const list = (more) => ({ pagination: { page: 1, perPage: 10 }, sort: { field: "id", order: "ASC" }, filter: {}, ...more });
    const made = [];
    for (let n = 0; n < 12; n += 1) {
        const data = { title: `post ${n}`, views: n % 5, tags: n % 2 ? ["odd"] : [], author: { name: n < 6 ? "Joyce" : "Orwell" } };
        made.push((await client.create("posts", { data })).data);
    }
    const ids = made.map((post) => post.id);
    const first = await client.getList("posts", list());
    assert.equal(first.total, 12);
    assert.deepEqual(first.data.map((post) => post.id), ids.slice(0, 10));
    const last = await client.getList("posts", list({ pagination: { page: 2, perPage: 10 }, sort: { field: "id", order: "DESC" } }));
    assert.deepEqual(last.data.map((post) => post.id), ids.slice(0, 2).reverse());
    const viewed = await client.getList("posts", list({ sort: { field: "views", order: "DESC" }, filter: { views_gte: 3, q: "post" } }));
    assert.deepEqual(viewed.data.map((post) => post.views), [4, 4, 3, 3]);
    const nested = await client.getList("posts", list({ filter: { author: { name: "Joyce" }, tags: "odd" } }));
    assert.equal(nested.total, 3);
    const none = await client.getList("posts", list({ filter: { title: "nobody" } }));
    assert.deepEqual([none.data, none.total], [[], 0]);
    assert.equal((await client.getOne("posts", { id: ids[3] })).data.title, "post 3");
    const many = await client.getMany("posts", { ids: [ids[5], ids[1]] });
    assert.deepEqual(many.data.map((post) => post.id).sort((a, b) => a - b), [ids[1], ids[5]]);
    const referring = await client.getManyReference("posts", list({ target: "views", id: 1 }));
    assert.equal(referring.total, 3);
    const updated = await client.update("posts", { id: ids[0], data: { ...made[0], title: "changed" }, previousData: made[0] });
    assert.equal(updated.data.title, "changed");
    assert.deepEqual((await client.updateMany("posts", { ids: ids.slice(0, 2), data: { views: 9 } })).data, ids.slice(0, 2));
    assert.equal((await client.getOne("posts", { id: ids[1] })).data.views, 9);
    assert.equal((await client.delete("posts", { id: ids[0], previousData: made[0] })).data.id, ids[0]);
    assert.deepEqual((await client.deleteMany("posts", { ids: ids.slice(1) })).data, ids.slice(1));
    // A form shows these: the message in a toast, the errors at their fields.
    const refused = await client.create("posts", { data: { views: -1 } }).then(() => assert.fail("accepted"), (error) => error);
    assert.equal(refused.status, 422);
    assert.match(refused.message, /views must be at least 0/);
    assert.deepEqual(refused.body.errors, { title: "must be there", views: "must be at least 0" });
    const wrong = await client.getList("posts", list({ filter: { titel: "x" } })).then(() => assert.fail("accepted"), (error) => error);
    assert.equal(wrong.status, 400);
    assert.match(wrong.message, /titel is not a field of this resource; did you mean title\?/);
    const gone = await client.getOne("posts", { id: ids[0] }).then(() => assert.fail("found"), (error) => error);
    assert.equal(gone.status, 404);
}

async function refine() {
    const { default: provider } = await import("@refinedev/simple-rest");
    const client = (provider.default ?? provider)(site);
    const resource = "posts";
    const made = [];
    for (let n = 0; n < 12; n += 1) {
        made.push((await client.create({ resource, variables: { title: `post ${n}`, views: n % 5 } })).data);
    }
    const ids = made.map((post) => post.id);
    const pages = await client.getList({ resource, pagination: { currentPage: 2, pageSize: 5 } });
    assert.equal(pages.total, 12);
    assert.deepEqual(pages.data.map((post) => post.id), ids.slice(5, 10));
    const sorters = [{ field: "views", order: "desc" }, { field: "title", order: "asc" }];
    const filters = [
        { field: "views", operator: "gte", value: 3 },
        { field: "views", operator: "lte", value: 4 },
        { field: "title", operator: "contains", value: "POST" },
        { field: "title", operator: "ne", value: "post 3" },
        { field: "q", operator: "eq", value: "post" },
    ];
    const found = await client.getList({ resource, sorters, filters });
    assert.deepEqual(found.data.map((post) => post.title), ["post 4", "post 9", "post 8"]);
    const equal = await client.getList({ resource, filters: [{ field: "title", operator: "eq", value: "post 7" }], pagination: { mode: "off" } });
    assert.deepEqual([equal.total, equal.data[0].id], [1, ids[7]]);
    assert.equal((await client.getMany({ resource, ids: [ids[2], ids[4]] })).data.length, 2);
    assert.equal((await client.getOne({ resource, id: ids[3] })).data.title, "post 3");
    assert.equal((await client.update({ resource, id: ids[3], variables: { views: 7 } })).data.views, 7);
    const custom = await client.custom({ url: `${client.getApiUrl()}/posts`, method: "get", sorters, filters: filters.slice(0, 1), query: { _limit: 1 } });
    assert.equal(custom.data[0].views, 7);
    const refused = await client.create({ resource, variables: { views: -1 } }).then(() => assert.fail("accepted"), (error) => error);
    assert.equal(refused.statusCode, 422);
    assert.match(refused.message, /views must be at least 0/);
    const wrong = await client.getList({ resource, filters: [{ field: "view", operator: "gte", value: 1 }] }).then(() => assert.fail("accepted"), (error) => error);
    assert.equal(wrong.statusCode, 400);
    assert.match(wrong.message, /view_gte is not a field of this resource; did you mean views_gte\?/);
    for (const id of ids) assert.equal((await client.deleteOne({ resource, id })).data.id, id);
}

await (name === "refine" ? refine() : reactAdmin(() => import(name)));
