"""Vision-language policies of every family: what is sampled and trained is what the model itself computes."""

import base64
import copy

import pytest
import torch
from PIL import Image

from oneloop.engines.features import Features, together, turned
from oneloop.sample.policies.tokens.lora import Lora, vision_tower
from oneloop.sample.policies.vision_language import VisionLanguage
from tests.sample.policies.conftest import asked, everything, gradients, rounding
from tests.sample.policies.pictures.tiny_vlms import FAMILIES, Made, picture, rows
from tests.support.rounding import moved_by, relative, room

families = pytest.mark.parametrize("kind", FAMILIES)


@pytest.fixture(scope="module")
def policies():
    return {kind: opened(kind) for kind in FAMILIES}


def opened(kind, **options):
    return VisionLanguage(model=Made(kind), max_new_tokens=5, **options).open()


@pytest.fixture(scope="module")
def sampled(policies):
    return {kind: policies[kind].sample(asked(rows(kind)))[0] for kind in FAMILIES}


@torch.no_grad()
def close(policy, rollouts):
    """Raises AssertionError unless log-probs of sampling and of learning are the same up to rounding."""

    def learned(moved):
        with moved_by(moved, policy.model):
            return policy.at(rollouts, torch.arange(len(rollouts.actions))).logprob

    here = learned(lambda model: model)
    torch.testing.assert_close(here, rollouts.actions.logprob, atol=room(learned), rtol=0)


@torch.no_grad()
def own_logprobs(policy, rollouts, row, model=None):
    """Of one rollout, by the model's own forward on what its processor makes, as transformers calls it."""
    processor, model = policy.prompts.processor, model or policy.model
    example = rollouts.example[row]
    pictures = example.get("images") or ([example["image"]] if "image" in example else [])
    said = [*[{"type": "image"}] * len(pictures), *example["prompt"][0]["content"]]
    text = processor.apply_chat_template([{"role": "user", "content": said}], add_generation_prompt=True)
    made = dict(
        processor(text=[text], images=pictures or None, add_special_tokens=False, return_tensors="pt")
    )
    length = made["input_ids"].shape[1]
    tokens = rollouts.actions.token[rollouts.owner == row]
    made["input_ids"] = torch.cat([made["input_ids"], tokens[None]], 1)
    for name in ("attention_mask", "mm_token_type_ids", "token_type_ids"):
        if name in made:
            fill = int(name == "attention_mask")
            made[name] = torch.cat([made[name], torch.full((1, len(tokens)), fill)], 1)
    logits = model(**made, use_cache=False).logits[0, length - 1 : -1]
    logits[:, sorted(policy.prompts.never)] = float("-inf")
    return logits.log_softmax(-1).gather(1, tokens[:, None]).squeeze(1)


@families
def test_logprobs_are_those_of_a_full_forward(policies, sampled, kind):
    policy, rollouts = policies[kind], sampled[kind]
    full = torch.cat([own_logprobs(policy, rollouts, row) for row in range(len(rollouts))])
    gap = room(
        lambda moved: torch.cat(
            [own_logprobs(policy, rollouts, row, moved(copy.deepcopy(policy.model))) for row in (0, 3, 6)]
        )
    )
    torch.testing.assert_close(rollouts.actions.logprob, full, atol=gap, rtol=0)
    for piece in policy.batches(rollouts, everything(rollouts), 256):
        now = policy.at(rollouts, piece).logprob.detach()
        torch.testing.assert_close(now, full[piece], atol=gap, rtol=0)


@families
def test_a_picture_changes_what_is_said_of_it(policies, kind):
    one, other = (policies[kind].prompt(asked(rows(kind)), row) for row in (0, 3))
    assert one.ids == other.ids and one.features != other.features
    policy = policies[kind]
    with policy.greedy():
        rollouts = policy.sample(asked(rows(kind)[:2], n=1))[0]
    first, second = rollouts.actions.logprob[rollouts.depth == 0].tolist()
    assert first != pytest.approx(second, abs=1e-7)


@families
def test_the_engine_reads_a_prompt_with_its_picture_once_for_a_group(policies, kind):
    policy, several = policies[kind], asked(rows(kind)[:1], n=4)
    before = policy.meter.total
    rollouts = policy.sample(several)[0]
    # each sampled token is fed once, but the last of a rollout
    fed = int((rollouts.length - 1).sum())
    assert policy.meter.total - before == len(policy.prompt(several, 0).ids) + fed


@families
def test_packing_changes_no_gradient(policies, sampled, kind):
    policy, rollouts = policies[kind], sampled[kind]
    packed = gradients(policy, rollouts, list(policy.batches(rollouts, everything(rollouts), 4096)))
    width, policy.forward.width = policy.forward.width, 0
    alone = gradients(policy, rollouts, list(policy.batches(rollouts, everything(rollouts), 1)))
    policy.forward.width = width
    assert width > 0 and relative(packed, alone) < rounding(policy)


@families
def test_no_token_that_stands_for_a_picture_is_ever_sampled(kind):
    policy = opened(kind)
    with torch.no_grad():  # a head that wants nothing but placeholders
        for token in policy.prompts.never:
            policy.model.get_output_embeddings().weight[token] = 50.0
    policy.updated()
    rollouts = policy.sample(asked(rows(kind)))[0]
    assert not {int(token) for token in rollouts.actions.token} & policy.prompts.never
    here = policy.at(rollouts, torch.arange(len(rollouts.actions)))
    close(policy, rollouts)
    assert bool(here.entropy.isfinite().all()) and bool((here.entropy >= 0).all())


@families
def test_the_tower_stays_as_it_is_unless_it_is_asked_to_learn(policies, kind):
    tower = vision_tower(policies[kind].model)
    frozen = {name for name, weight in policies[kind].model.named_parameters() if not weight.requires_grad}
    assert frozen and all(name.startswith(tower) for name in frozen)
    assert all(weight.requires_grad for weight in opened(kind, freeze_vision=False).model.parameters())


@pytest.mark.parametrize("kind", ["llava_siglip", "qwen2_5_vl"])
def test_adapters_are_on_the_language_model_and_are_what_is_sampled(kind):
    policy = opened(kind, lora=Lora(rank=2))
    adapted = [name for name, weight in policy.model.named_parameters() if weight.requires_grad]
    assert adapted and not any(vision_tower(policy.model.get_base_model()) in name for name in adapted)
    with torch.no_grad():
        for weight in policy.model.parameters():
            if weight.requires_grad:
                weight.add_(0.05)
    policy.updated()
    rollouts = policy.sample(asked(rows(kind)))[0]
    close(policy, rollouts)


def test_an_interrupted_rollout_goes_on_as_if_it_had_not_been(policies):
    for kind in ("llava_siglip", "qwen2_5_vl"):
        policy, whole = policies[kind], asked(rows(kind), n=2)
        finished = policy.sample(whole)[0]
        requests = [policy.request(finished, row, ()) for row in range(len(finished))]
        tokens = [finished.actions.token[finished.owner == row].tolist() for row in range(len(finished))]
        longer = [row for row in range(len(finished)) if len(tokens[row]) > 2]
        again = [policy.request(finished, row, tokens[row][:2]) for row in longer]
        replies = dict(zip(longer, policy.engine.generate(again), strict=True))
        assert all([*tokens[row][:2], *reply.tokens] == tokens[row] for row, reply in replies.items())
        assert requests[0].features == again[0].features


def test_saved_and_loaded_again_it_is_the_same_to_the_bit(tmp_path):
    one = opened("llava_siglip")
    with torch.no_grad():
        for weight in one.model.parameters():
            weight.add_(0.01)
    one.updated()
    one.save(tmp_path)
    other = VisionLanguage(model=str(tmp_path), max_new_tokens=5).open()
    first, second = (each.sample(asked(rows("llava_siglip")))[0] for each in (one, other))
    assert first.text == second.text
    assert torch.equal(first.actions.logprob, second.actions.logprob)
    fresh = opened("llava_siglip")
    fresh.restore(tmp_path, one.state_dict())
    assert fresh.sample(asked(rows("llava_siglip")))[0].text == first.text and fresh.version == 1


def test_what_is_shown_is_recorded_as_a_small_picture(sampled):
    shown = sampled["llava_siglip"].shown
    assert base64.b64decode(shown[0]).startswith(b"\x89PNG")
    assert shown[0] == shown[1] != shown[3] and shown[-1] == ""


def test_a_text_prompt_marks_the_place_of_its_picture(policies):
    policy = policies["llava_siglip"]
    data = [
        {"prompt": "what <image> here", "image": picture("red")},
        {"prompt": "what here", "image": picture("red")},
    ]
    middle, front = (policy.prompt(asked(data, n=1), row).ids for row in (0, 1))
    mark = next(iter(policy.prompts.never))
    assert [token == mark for token in middle] == [False] * 5 + [True] * 4 + [False] * 5
    assert [token == mark for token in front] == [True] * 4 + [False] * 9


def test_trees_of_answers_share_their_beginning_after_a_picture():
    from oneloop.sample.plan.dress.fork import Fork

    policy, request = opened("qwen2_5_vl"), asked(rows("qwen2_5_vl")[:2], n=4)
    rollouts = policy.sample(Fork(steps=(0, 2), factor=2)(request))[0]
    close(policy, rollouts)


# what is refused


def test_more_pictures_than_places_name_the_row(policies):
    row = {"prompt": "a <image> b", "images": [picture("red"), picture("blue")]}
    with pytest.raises(
        ValueError, match="data row 0: the prompt has 1 places for pictures, but the row has 2"
    ):
        policies["llava_siglip"].sample(asked([row]))


def test_frames_that_are_not_shown_are_said_once(policies, tmp_path, monkeypatch):
    prompts = policies["llava_siglip"].prompts
    monkeypatch.setattr(prompts, "_told", False)
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "two.gif", save_all=True, append_images=frames[1:])
    with pytest.warns(UserWarning, match="several frames or pages; the first of them is shown") as said:
        for _ in range(2):
            prompts.read([{"role": "user", "content": "x"}], "row", {"image": str(tmp_path / "two.gif")})
    assert len(said) == 1


def test_a_processor_of_another_model_is_found_by_its_counts():
    policy = opened("llava_siglip")
    policy.prompts.processor.num_additional_image_tokens = 1
    with pytest.raises(ValueError, match="data row 0: the prompt has 5 placeholders .* makes 4 features"):
        policy.sample(asked(rows("llava_siglip")[:1]))


def test_a_demonstration_that_holds_a_placeholder_is_refused(policies):
    row = {"prompt": "what", "image": picture("red"), "completion": "a<image>"}
    with pytest.raises(ValueError, match="here: 'completion' holds '<image>', which stands for a picture"):
        policies["llava_siglip"].check_row(row, "here", demonstrated=True)


def test_a_model_that_reads_no_pictures_is_refused_in_words(tmp_path):
    from oneloop.models.language.small_llama import SmallLlama

    model, tokenizer = SmallLlama(hidden_size=16, layers=1, heads=2).build()
    model.save_pretrained(tmp_path), tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"^policy\.vision_language\.model: "):
        VisionLanguage(model=str(tmp_path)).open()


# the seam


def test_positions_of_several_axes_go_on_after_the_largest():
    positions = torch.tensor([[0, 1, 1, 1, 1, 3], [0, 1, 1, 2, 2, 3], [0, 1, 2, 1, 2, 3]])
    features = Features("a", {}, positions)
    assert features.shift == -2
    places = torch.tensor([[0, 3, 5, 6, 7], [0, 1, 2, 3, 4]])
    made = turned(places, [features, None])
    assert made[:, 0].tolist() == [[0, 1, 3, 4, 5], [0, 2, 3, 4, 5], [0, 1, 3, 4, 5]]
    assert made[:, 1].tolist() == [[0, 1, 2, 3, 4]] * 3
    assert turned(places, [Features("b", {}), None]) is None


def test_pictures_of_two_sizes_are_padded_on_the_right_and_below():
    small, large = (Features("a", {"x": torch.ones(1, 2, 2)}), Features("b", {"x": torch.ones(2, 2, 3)}))
    joined = together([small, large], torch.device("cpu"), torch.float32)["x"]
    assert joined.tolist() == [[[1, 1, 0], [1, 1, 0]], [[1] * 3] * 2, [[1] * 3] * 2]
    assert Features("a", {}) == small and hash(Features("a", {})) == hash(small)


# several numbers of visual tokens


def flexible(**options):
    from oneloop.models.vision_language.flexible_llava import FlexibleLlava
    from oneloop.models.vision_language.small_llava import SmallLlava
    from tests.sample.policies.pictures.tiny_vlms import LETTERS

    small = SmallLlava(**LETTERS, image_size=16, patch_size=4)
    return VisionLanguage(
        model=FlexibleLlava(model=small, num_image_tokens=16), max_new_tokens=5, **options
    ).open()


def test_groups_of_several_budgets_are_sampled_and_learned_together():
    from oneloop.sample.plan.dress.draw_budget import DrawBudget

    policy = flexible()
    request = DrawBudget(column="image_tokens", choices=(1, 4, 9, 16))(asked(rows("llava_siglip")))
    rollouts = policy.sample(request)[0]
    counts = request.image_tokens.tolist()
    assert len(set(counts)) > 1 and all(len(set(counts[g : g + 3])) == 1 for g in range(0, 12, 3))
    marks = [sum(t in policy.prompts.never for t in policy.prompt(request, row).ids) for row in (0, 3, 6, 9)]
    assert marks == [counts[0], counts[3], 2 * counts[6], 0]
    for width in (policy.forward.width, 0):
        policy.forward.width = width
        close(policy, rollouts)


def test_the_number_of_tokens_is_an_option_of_the_policy():
    request = asked(rows("llava_siglip")[:1])
    longer, shorter = (flexible(**each).prompt(request, 0) for each in ({}, {"num_image_tokens": 4}))
    assert len(longer.ids) - len(shorter.ids) == 12
    with pytest.raises(ValueError, match=r"policy\.vision_language\.num_image_tokens: 4 visual tokens"):
        opened("llava_siglip", num_image_tokens=4)
